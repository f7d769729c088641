// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// thisProgram stands for the bench itself, whatever its file is called.
const thisProgram = "bench"

// processorTime is the processor time so far, in seconds, of this process and of those it started, by program. Where
// there is no /proc it is empty.
func processorTime() map[string]float64 {
	times := map[string]float64{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return times
	}
	own := os.Getpid()
	for _, path := range stats {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		pid, parent, program, seconds, ok := parseStat(string(line))
		switch {
		case !ok:
		case pid == own:
			times[thisProgram] += seconds
		case parent == own:
			times[program] += seconds
		}
	}
	return times
}

// parseStat reads a line of /proc/PID/stat: the program stands in parentheses, and may have some in its name; the 14th
// and 15th field are the time in user and in kernel mode, in hundredths of a second.
func parseStat(line string) (pid, parent int, program string, seconds float64, ok bool) {
	open, shut := strings.Index(line, "("), strings.LastIndex(line, ")")
	if open < 0 || shut < open {
		return 0, 0, "", 0, false
	}
	fields := strings.Fields(line[shut+1:]) // from the third on
	if len(fields) < 13 {
		return 0, 0, "", 0, false
	}
	var ticks [2]float64
	var errs [4]error
	pid, errs[0] = strconv.Atoi(strings.TrimSpace(line[:open]))
	parent, errs[1] = strconv.Atoi(fields[1])
	ticks[0], errs[2] = strconv.ParseFloat(fields[11], 64)
	ticks[1], errs[3] = strconv.ParseFloat(fields[12], 64)
	for _, err := range errs {
		if err != nil {
			return 0, 0, "", 0, false
		}
	}
	return pid, parent, line[open+1 : shut], (ticks[0] + ticks[1]) / 100, true
}

var residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// residentSize is how much of a process is in memory; 0 where the system does not say.
func residentSize(pid int) float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	match := residentLine.FindSubmatch(status)
	if match == nil {
		return 0
	}
	kilobytes, _ := strconv.ParseFloat(string(match[1]), 64)
	return kilobytes * 1024
}

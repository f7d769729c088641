// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/prometheus/procfs"
)

// thisProgram stands for the benchmark itself, whatever the name of its binary.
const thisProgram = "bench"

// processorTime returns the processor time in seconds of this process and its children, by program. It is empty where there is
// no /proc.
func processorTime() map[string]float64 {
	times := map[string]float64{}
	all, err := procfs.AllProcs()
	if err != nil {
		return times
	}
	own := os.Getpid()
	for _, process := range all {
		stat, err := process.Stat()
		switch {
		case err != nil: // it has ended meanwhile
		case process.PID == own:
			times[thisProgram] += stat.CPUTime()
		case stat.PPID == own:
			times[stat.Comm] += stat.CPUTime()
		}
	}
	return times
}

// processorTimeSince returns the processor time after an earlier measurement. A program that was started since counts in full.
func processorTimeSince(before map[string]float64) map[string]float64 {
	times := processorTime()
	for program := range times {
		times[program] -= before[program]
	}
	return times
}

// cpuTime returns the processor time of a process in seconds, or 0 if it is unknown.
func cpuTime(pid int) float64 {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	stat, err := process.Stat()
	if err != nil {
		return 0
	}
	return stat.CPUTime()
}

// residentSize returns the resident memory of a process, or 0 if it is unknown.
func residentSize(pid int) float64 {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	status, err := process.NewStatus()
	if err != nil {
		return 0
	}
	return float64(status.VmRSS)
}

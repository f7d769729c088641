// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/prometheus/procfs"
)

// thisProgram stands for the bench itself, whatever its file is called.
const thisProgram = "bench"

// processorTime is the processor time so far, in seconds, of this process and of those it started, by program. Where
// there is no /proc it is empty.
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

// residentSize is how much of a process is in memory; 0 where the system does not say.
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

// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// processesOf returns the processes in the cgroup of a container, and fails if there are none. It needs the process IDs of the node.
func processesOf(container string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var processes []int
	for _, file := range files {
		cgroup, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the process has ended
		}
		if err != nil {
			return nil, err
		}
		if !strings.Contains(string(cgroup), container) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		processes = append(processes, pid)
	}
	if len(processes) == 0 {
		return nil, fmt.Errorf("no process of container %s", container)
	}
	return processes, nil
}

// kill sends SIGKILL to the processes of a container.
func kill(container string) error {
	processes, err := processesOf(container)
	if err != nil {
		return err
	}
	for _, pid := range processes {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return nil
}

// States of a socket in /proc/net/tcp.
const (
	stateEstablished = "01"
	stateListen      = "0A"
)

// connections are the ports on which a container listens, and those that it has opened connections to.
type connections struct {
	Listening []int `json:"listening"`
	Connected []int `json:"connected"`
}

// sockets prints the connections of a container.
func sockets(container string) error {
	processes, err := processesOf(container)
	if err != nil {
		return err
	}
	var all []socket
	for _, name := range []string{"tcp", "tcp6"} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", processes[0], name))
		if err != nil {
			return err
		}
		found, err := parseSockets(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		all = append(all, found...)
	}
	return json.NewEncoder(os.Stdout).Encode(summarize(all))
}

type socket struct {
	local, remote int
	state         string
}

// parseSockets reads the format of /proc/net/tcp, whose second to fourth columns are the addresses and the state.
func parseSockets(file io.Reader) ([]socket, error) {
	var all []socket
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 4 || fields[0] == "sl" {
			continue
		}
		local, localErr := port(fields[1])
		remote, remoteErr := port(fields[2])
		if err := errors.Join(localErr, remoteErr); err != nil {
			return nil, err
		}
		all = append(all, socket{local: local, remote: remote, state: fields[3]})
	}
	return all, scanner.Err()
}

// port returns the port of an address in hexadecimal.
func port(address string) (int, error) {
	_, hex, _ := strings.Cut(address, ":")
	n, err := strconv.ParseUint(hex, 16, 16)
	return int(n), err
}

func summarize(all []socket) connections {
	var c connections
	for _, s := range all {
		if s.state == stateListen {
			c.Listening = append(c.Listening, s.local)
		}
	}
	for _, s := range all {
		if s.state == stateEstablished && !slices.Contains(c.Listening, s.local) {
			c.Connected = append(c.Connected, s.remote)
		}
	}
	slices.Sort(c.Listening)
	slices.Sort(c.Connected)
	return connections{Listening: slices.Compact(c.Listening), Connected: slices.Compact(c.Connected)}
}

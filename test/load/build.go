// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// managers returns the managers to measure: the given one, or bin/manager, which it builds, and those to compare it with. It
// copies them, so that other builds do not change them.
func (b *bench) managers(ctx context.Context) ([]managerBuild, error) {
	sides := []managerBuild{{name: "manager"}}
	for _, path := range b.against {
		sides = append(sides, managerBuild{name: filepath.Base(path)})
	}
	for i := range sides {
		dir := filepath.Join(b.plane.Dir(), "side-"+strconv.Itoa(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		sides[i].binary = filepath.Join(dir, "manager")
	}
	for i, path := range b.against {
		if err := copyFile(path, sides[i+1].binary); err != nil {
			return nil, err
		}
	}
	switch own := sides[0].binary; {
	case b.profile != "":
		return sides, errors.Join(b.buildProfiled(ctx, "manager", own), b.serveProfiles())
	case b.manager != "":
		return sides, copyFile(b.manager, own)
	default:
		return sides, buildManager(ctx, own)
	}
}

func buildManager(ctx context.Context, binary string) error {
	built, err := controlplane.BuildManager(ctx, "-trimpath")
	if err != nil {
		return err
	}
	return copyFile(built, binary)
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o700)
}

//go:embed testdata/profile.go.txt
var profileSource []byte

const profileVariable = "LOAD_PROFILE_ADDRESS"

// buildProfiled builds a command with an additional file that serves profiles.
func (b *bench) buildProfiled(ctx context.Context, command, binary string) error {
	source, overlay := filepath.Join(b.plane.Dir(), "profile.go"), filepath.Join(b.plane.Dir(), "overlay.json")
	replace := map[string]string{filepath.Join(b.plane.Root(), "cmd", command, "profile.go"): source}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	if err := os.WriteFile(source, profileSource, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(overlay, content, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", overlay, "-o", binary, "./cmd/"+command)
	cmd.Dir = b.plane.Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s with profiles: %w\n%s", command, err, out)
	}
	return nil
}

// serveProfiles makes the next program that was built with profiles serve them at a free port.
func (b *bench) serveProfiles() error {
	port, err := controlplane.FreePort()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.profile, 0o750); err != nil {
		return err
	}
	return os.Setenv(profileVariable, "127.0.0.1:"+strconv.Itoa(port)) // the program inherits it
}

func (b *bench) startProfile(ctx context.Context) {
	if b.profile != "" {
		b.fetchProfile(ctx, "start", "")
	}
}

// stopProfile saves the profile of the CPU since startProfile.
func (b *bench) stopProfile(ctx context.Context, file string) {
	if b.profile != "" {
		b.fetchProfile(ctx, "stop", file)
	}
}

// profileHeap saves profiles of the memory in use and of all allocations.
func (b *bench) profileHeap(ctx context.Context) { b.profileMemory(ctx, "") }

// profileRestart saves the same profiles of a manager that was restarted.
func (b *bench) profileRestart(ctx context.Context) { b.profileMemory(ctx, "restart-") }

func (b *bench) profileMemory(ctx context.Context, prefix string) {
	if b.profile != "" {
		b.fetchProfile(ctx, "heap", prefix+"heap.pprof")
		b.fetchProfile(ctx, "allocs", prefix+"allocs.pprof")
	}
}

// fetchProfile requests a profile from the manager and saves it. An error is printed, but does not end the benchmark.
func (b *bench) fetchProfile(ctx context.Context, what, file string) {
	if err := b.tryProfile(ctx, os.Getenv(profileVariable), what, file); err != nil {
		b.printf("Profile %s: %v", what, err)
	}
}

func (b *bench) tryProfile(ctx context.Context, address, what, file string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/"+what, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || file == "" {
		return err
	}
	return os.WriteFile(filepath.Join(b.profile, file), content, 0o600)
}

// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Command images builds the container images with ko, without a container engine and without a registry: make images. For each
// program it writes to --out:
//
//	manager/                        an OCI layout with an index of all platforms
//	manager.tar                     the image for --tar-platform, for docker load or ctr images import
//	manager-linux-amd64.spdx.json   the SBOM of each platform's image
//	manager-index.spdx.json         the SBOM of the index
//
// The same commit, built by the same version of Go, gives images with the same digests.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// source is the repository, as the images name it.
const source = "https://github.com/apikey-manager/apikey-manager"

// options says what to build.
type options struct {
	programs    []string // the directories below cmd
	platforms   []string // such as linux/amd64
	tarPlatform string
	registry    string
	tag         string
	version     string
	commit      string
	created     time.Time // the time of the commit
	ldflags     string
	dir         string // the directory of the module
	out         string
	ko          string // the program
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

func parse(args []string) (options, error) {
	var o options
	var programs, platforms, created string
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.StringVar(&programs, "programs", "", "the programs below cmd/ to build images of, separated by spaces")
	flags.StringVar(&platforms, "platforms", "linux/amd64 linux/arm64", "the platforms, separated by spaces")
	flags.StringVar(&o.tarPlatform, "tar-platform", "linux/"+runtime.GOARCH, "the platform of the images in the tar files")
	flags.StringVar(&o.registry, "registry", "", "the registry and the path that the names of the images begin with")
	flags.StringVar(&o.tag, "tag", "", "the tag of the images")
	flags.StringVar(&o.version, "version", "", "the version that the labels name")
	flags.StringVar(&o.commit, "commit", "", "the commit that the labels name")
	flags.StringVar(&created, "created", "", "the time of the commit, in RFC 3339 format")
	flags.StringVar(&o.ldflags, "ldflags", "", "the arguments of the linker")
	flags.StringVar(&o.dir, "dir", ".", "the directory of the module")
	flags.StringVar(&o.out, "out", "dist/images", "the directory to write; its files for these programs are replaced")
	flags.StringVar(&o.ko, "ko", "bin/ko", "the program ko")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	for name, value := range map[string]string{"programs": programs, "platforms": platforms, "registry": o.registry, "tag": o.tag} {
		if value == "" {
			return options{}, fmt.Errorf("--%s is empty", name)
		}
	}
	o.programs, o.platforms = strings.Fields(programs), strings.Fields(platforms)
	return o.resolve(created)
}

// resolve parses the time, and makes paths absolute, because ko runs in another directory.
func (o options) resolve(created string) (options, error) {
	var err error
	if o.created, err = time.Parse(time.RFC3339, created); err != nil {
		return options{}, fmt.Errorf("--created: %w", err)
	}
	for _, path := range []*string{&o.dir, &o.out, &o.ko} {
		if *path, err = filepath.Abs(*path); err != nil {
			return options{}, err
		}
	}
	return o, nil
}

func run(ctx context.Context, o options, stdout io.Writer) error {
	for _, program := range o.programs {
		if err := o.build(ctx, program); err != nil {
			return fmt.Errorf("build the image of %s: %w", program, err)
		}
		digest, images, err := readLayout(filepath.Join(o.out, program))
		if err != nil {
			return err
		}
		if err := o.writeTar(program, images); err != nil {
			return fmt.Errorf("write %s.tar: %w", program, err)
		}
		fmt.Fprintf(stdout, "%s/%s:%s@%s\n", o.registry, program, o.tag, digest)
	}
	return nil
}

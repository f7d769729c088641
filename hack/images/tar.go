// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// writeTar writes the image for one platform in the format of docker save, which docker load and ctr images import read.
func (o options) writeTar(program string, images []v1.Image) error {
	tag, err := name.NewTag(o.registry + "/" + program + ":" + o.tag)
	if err != nil {
		return err
	}
	image, err := imageFor(o.tarPlatform, images)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(filepath.Join(o.out, program+".tar"), tag, image)
}

func imageFor(platform string, images []v1.Image) (v1.Image, error) {
	want, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		if config.Platform().Satisfies(*want) {
			return image, nil
		}
	}
	return nil, fmt.Errorf("no image was built for %s: set --tar-platform to one of --platforms", platform)
}

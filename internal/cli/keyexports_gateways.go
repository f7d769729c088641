// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/config/samples/exports"
)

// gatewayLabel is the label of the objects in the samples by which gateways select them.
const gatewayLabel = "example.com/api-keys"

// gatewaySample describes how a gateway that keeps keys itself reads them. It is a file of config/samples/exports.
type gatewaySample struct {
	name   string
	export v1alpha1.KeyExport
	// resources holds what the gateway needs, as YAML with comments.
	resources string
}

// gatewayNames returns the names of the gateways that have a sample.
func gatewayNames() []string {
	files, err := exports.Samples.ReadDir(".")
	cobra.CheckErr(err) // the files are part of the program
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(file.Name(), ".yaml")
	}
	return names
}

// findGateway returns the sample of a gateway.
func findGateway(name string) (*gatewaySample, error) {
	all := strings.Join(gatewayNames(), ", ")
	if name == "" {
		return nil, usageErrorf("--gateway is required: pass one of %s", all)
	}
	text, err := exports.Samples.ReadFile(name + ".yaml")
	if err != nil {
		return nil, usageErrorf("invalid value of --gateway: %q: must be one of %s", name, all)
	}
	first, resources, _ := strings.Cut(string(text), "\n---\n")
	s := &gatewaySample{name: name, resources: resources}
	if err := yaml.UnmarshalStrict([]byte(first), &s.export); err != nil {
		return nil, fmt.Errorf("read the sample of %s: %w", name, err)
	}
	return s, nil
}

// spec returns the spec of a KeyExport for the gateway that writes a content to a target. It selects all keys.
func (s *gatewaySample) spec(content, target string) (v1alpha1.KeyExportSpec, error) {
	spec := *s.export.Spec.DeepCopy()
	spec.Target.Name = target
	if _, ok := spec.Target.Labels[gatewayLabel]; ok {
		spec.Target.Labels[gatewayLabel] = target // so that a gateway does not read the objects of other KeyExports
	}
	switch v1alpha1.ExportContent(content) {
	case "", spec.Content:
		return spec, nil
	case v1alpha1.ExportContentKey:
		if spec.Target.Kind == v1alpha1.ExportToSecret && spec.Entry == nil {
			spec.Content = v1alpha1.ExportContentKey
			return spec, nil
		}
	case v1alpha1.ExportContentDigest:
	default:
		return spec, usageErrorf("invalid value of --content: %q: must be Digest or Key", content)
	}
	return spec, usageErrorf("invalid value of --content: %q: %s reads content %s", content, s.name, spec.Content)
}

// resourcesFor returns what the gateway needs to read the objects of a KeyExport.
func (s *gatewaySample) resourcesFor(x *v1alpha1.KeyExport) string {
	was, label := s.export.Spec.Target, s.export.Spec.Target.Labels[gatewayLabel]
	replace := []string{
		"namespace: " + s.export.Namespace + "\n", "namespace: " + x.Namespace + "\n",
		"-n " + s.export.Namespace + " ", "-n " + x.Namespace + " ",
		was.Name, x.Spec.Target.Name,
	}
	if label != "" {
		for _, sign := range []string{": ", "="} {
			replace = append([]string{gatewayLabel + sign + label, gatewayLabel + sign + x.Spec.Target.Name}, replace...)
		}
	}
	return strings.NewReplacer(replace...).Replace(s.resources)
}

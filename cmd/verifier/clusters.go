// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/internal/verifier"
)

// cluster is a cluster whose keys are verified.
type cluster struct {
	// name is empty if there is only one cluster, which needs no name.
	name   string
	config *rest.Config
	index  *verifier.Index
	syncer *verifier.Syncer
}

// newClusters returns the clusters that --kubeconfig names. It does not connect to them.
func newClusters(o options) ([]cluster, error) {
	sources, err := parseKubeconfigs(o.kubeconfigs)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	var list []cluster
	for _, source := range sources {
		c := cluster{name: source.cluster, index: verifier.NewClusterIndex(source.cluster)}
		if c.config, err = source.load(); err != nil {
			return nil, fmt.Errorf("load the kubeconfig: %w", err)
		}
		c.index.ReportUndecodable(c.logUndecodable)
		if c.syncer, err = c.newSyncer(o); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// newVerdicts returns what gives verdicts on the keys of all clusters.
func newVerdicts(list []cluster) *verifier.Clusters {
	indexes := make([]*verifier.Index, len(list))
	for i := range list {
		indexes[i] = list[i].index
	}
	return verifier.NewClusters(indexes...)
}

func (c *cluster) newSyncer(o options) (*verifier.Syncer, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register the API types: %w", err)
	}
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	source, err := client.NewWithWatch(c.config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("create the client: %w", err)
	}
	logger := ctrl.Log.WithName("syncer")
	if c.name != "" {
		logger = logger.WithValues("cluster", c.name)
	}
	return verifier.NewSyncer(verifier.SyncerOptions{
		Source: source, Clock: clock.RealClock{}, Index: c.index, MaxStaleness: o.maxStaleness, Logger: logger,
	}), nil
}

// logUndecodable logs an object that cannot be decoded completely.
func (c *cluster) logUndecodable(o verifier.Undecodable) {
	ctrl.Log.WithName("index").Info(
		"Ignored an object that cannot be decoded completely: correct the fields so that they match the schema of this version",
		"cluster", c.name, "kind", o.Kind, "namespace", o.Name.Namespace, "name", o.Name.Name, "fields", o.Fields,
		"resourceVersion", o.ResourceVersion)
}

// kubeconfig names a file that configures access to a cluster.
type kubeconfig struct {
	// cluster is the name of the cluster. It is empty if there is only one cluster, which needs no name.
	cluster string
	// file is empty for the cluster of the pod.
	file string
}

// maxClusters limits the clusters of a verifier: each costs a look-up in every check, and series in the metrics.
const maxClusters = 32

// namedKubeconfig matches a file with the name of its cluster.
var namedKubeconfig = regexp.MustCompile(`^([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)=(.*)$`)

// parseKubeconfigs parses the values of --kubeconfig: FILE, or NAME=FILE for each of several clusters.
func parseKubeconfigs(texts []string) ([]kubeconfig, error) {
	if len(texts) == 0 {
		return []kubeconfig{{}}, nil
	}
	if len(texts) > maxClusters {
		return nil, fmt.Errorf("too many clusters: %d, must be at most %d", len(texts), maxClusters)
	}
	list := make([]kubeconfig, 0, len(texts))
	names, files := map[string]bool{}, map[string]bool{}
	for _, text := range texts {
		k := parseKubeconfig(text)
		switch {
		case k.cluster == "" && len(texts) > 1:
			return nil, fmt.Errorf("invalid kubeconfig %q: must be NAME=FILE if there are several, with a name of lower-case letters, "+
				"digits and '-'", text)
		case names[k.cluster]:
			return nil, fmt.Errorf("invalid kubeconfig %q: two clusters must not have the same name", text)
		case files[k.file]:
			return nil, fmt.Errorf("invalid kubeconfig %q: two clusters must not have the same file", text)
		}
		names[k.cluster], files[k.file] = true, true
		list = append(list, k)
	}
	return list, nil
}

func parseKubeconfig(text string) kubeconfig {
	if parts := namedKubeconfig.FindStringSubmatch(text); parts != nil {
		return kubeconfig{cluster: parts[1], file: parts[2]}
	}
	return kubeconfig{file: text}
}

// load returns the configuration of the client for the cluster.
func (k kubeconfig) load() (*rest.Config, error) {
	if k.file == "" && k.cluster == "" {
		return ctrl.GetConfig() //nolint:wrapcheck // newClusters wraps it
	}
	load := k.loadFile
	if k.file == "" {
		load = rest.InClusterConfig
	}
	config, err := load()
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // as ctrl.GetConfig does: the API server limits its clients
	return config, nil
}

// loadFile returns the configuration in the file. The usual loader would replace an empty file by the ServiceAccount of the
// pod, and so follow another cluster.
func (k kubeconfig) loadFile() (*rest.Config, error) {
	file, err := clientcmd.LoadFromFile(k.file)
	if err != nil {
		return nil, err //nolint:wrapcheck // newClusters wraps it
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return nil, fmt.Errorf("%s: %w", k.file, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*file, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.file, err)
	}
	return config, nil
}

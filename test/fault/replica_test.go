// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
)

// replica is a manager that is restarted whenever it ends, like a pod of a Deployment. It connects to the API server through a
// proxy of its own.
type replica struct {
	name, binary, metrics string
	flags                 []string
	proxy                 *proxy
	// onExit is called with the time when a process has ended.
	onExit func(time.Time)

	mu      sync.Mutex
	process *controlplane.Process
	log     string
	starts  int
}

func newReplica(t *testing.T, plane *controlplane.ControlPlane, name, binary string, flags ...string) *replica {
	t.Helper()
	config, err := clientcmd.LoadFromFile(plane.ManagerKubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{name: name, binary: binary, log: filepath.Join(plane.Dir(), name+".log")}
	for _, cluster := range config.Clusters {
		server, err := url.Parse(cluster.Server)
		if err != nil {
			t.Fatal(err)
		}
		r.proxy = startProxy(t, server.Host, 0)
		server.Host = r.proxy.address
		cluster.Server = server.String()
	}
	kubeconfig := filepath.Join(t.TempDir(), name+".kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	port, err := controlplane.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	r.metrics = fmt.Sprintf("127.0.0.1:%d", port)
	r.flags = append([]string{
		"--kubeconfig=" + kubeconfig, "--namespace=" + plane.Namespace(), "--leader-elect", "--webhooks=false",
		"--metrics-bind-address=" + r.metrics, "--metrics-secure=false", "--health-probe-bind-address=0",
	}, flags...)
	return r
}

// run restarts the manager until the context ends.
func (r *replica) run(ctx context.Context) {
	const pause = 200 * time.Millisecond
	for ctx.Err() == nil {
		process, err := controlplane.StartProcess(r.log, r.binary, r.flags...)
		if err != nil {
			panic(err) // the binary is gone
		}
		r.mu.Lock()
		r.process = process
		r.starts++
		r.mu.Unlock()
		select {
		case <-process.Done():
			r.onExit(time.Now())
			time.Sleep(pause)
		case <-ctx.Done():
			process.Kill()
		}
	}
}

func (r *replica) running() *controlplane.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process
}

// startCount returns how often the manager was started.
func (r *replica) startCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts
}

// kill kills the process. It is restarted by run.
func (r *replica) kill() {
	if process := r.running(); process != nil {
		process.Kill()
	}
}

// pause suspends the process, as happens on a machine that swaps or migrates. The returned function resumes it.
func (r *replica) pause() func() {
	process := r.running()
	_ = syscall.Kill(-process.Pid(), syscall.SIGSTOP)
	return func() { _ = syscall.Kill(-process.Pid(), syscall.SIGCONT) }
}

// leads reports whether the manager assumes that it leads.
func (r *replica) leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.metrics+"/metrics", http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	return strings.Contains(string(text), "leader_election_master_status{name=\"apikey-manager\"} 1")
}

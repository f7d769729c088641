// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// trustedProxyFlag has a verifier believe the gateways of these tests.
const trustedProxyFlag = "--trusted-proxy=127.0.0.1/32"

// verifier is one that runs with these flags. It is there for all tests.
func (w *suite) verifier(t *testing.T, flags ...string) *controlplane.Verifier {
	t.Helper()
	return w.verifiers.With(t, append([]string{trustedProxyFlag}, flags...)...)
}

// awaitStarted waits until a check of a process passes. It does not wait for one that has ended.
func awaitStarted(ctx context.Context, p *controlplane.Process, check func() error) error {
	err := controlplanetest.Await(ctx, func() error {
		select {
		case <-p.Done():
			return nil
		default:
			return check()
		}
	})
	return errors.Join(err, p.Err())
}

// gateway is how one of them is run with its sample.
type gateway struct {
	name string
	// version and args are its arguments; DIR is where its configuration is.
	version string
	args    []string
	// otherFiles are files that the sample is a part of, where it is not the whole configuration.
	otherFiles map[string]string
	// verifierFlags are those that its sample asks for.
	verifierFlags []string
	// keepsQuery says that it can't take a parameter out of a query.
	keepsQuery bool
	// logsQuery says that it can't leave a query out of what it logs.
	logsQuery bool
	// unsyncedStatus is what it answers while the verifier has not read the keys.
	unsyncedStatus int
}

var gateways = []gateway{
	{
		name: "nginx", version: "-v", args: []string{"-p", "DIR", "-e", "stderr", "-c", "DIR/nginx.conf"},
		otherFiles:    map[string]string{"nginx.conf": nginxMain},
		verifierFlags: []string{"--deny-status-only"}, logsQuery: true, unsyncedStatus: http.StatusForbidden,
	},
	{name: "haproxy", version: "-v", args: []string{"-db", "-f", "DIR/haproxy.cfg"}, unsyncedStatus: http.StatusServiceUnavailable},
	{
		name: "caddy", version: "version", args: []string{"run", "--config", "DIR/Caddyfile", "--adapter", "caddyfile"},
		unsyncedStatus: http.StatusServiceUnavailable,
	},
	{
		name: "traefik", version: "version", args: []string{"--configfile=DIR/traefik.yaml"},
		keepsQuery: true, unsyncedStatus: http.StatusServiceUnavailable,
	},
}

func gatewayNamed(name string) *gateway {
	return &gateways[slices.IndexFunc(gateways, func(g gateway) bool { return g.name == name })]
}

// nginxMain is what Debian's nginx.conf does around the files of conf.d, with every path of its own.
const nginxMain = `daemon off;
pid DIR/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    # Workers may not be let into DIR, where bodies that are larger go.
    client_body_buffer_size 1m;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    include DIR/apikeys.conf;
}
`

// binary is the gateway's program; the test is skipped where there is none.
func (g *gateway) binary(t *testing.T, root string) string {
	t.Helper()
	program := filepath.Join(root, "bin", "gateways", g.name)
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("SKIPPED: %s was not tested: there is no %s. Run `make gateways`, which says why", g.name, program)
	}
	return program
}

// logVersion says which version is tested.
func (g *gateway) logVersion(t *testing.T, program string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, g.version).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", g.name, g.version, err, out)
	}
	t.Logf("%s", strings.TrimSpace(string(out)))
}

// runningGateway is a running gateway, between the tests' client and the application.
type runningGateway struct {
	*gateway

	url         string
	application *application
}

// serve runs a gateway with its sample, in which nothing but addresses is changed, and what the test changes besides.
func (w *suite) serve(t *testing.T, g *gateway, verifier string, changes ...string) *runningGateway {
	t.Helper()
	program, dir, address := g.binary(t, w.plane.Root()), t.TempDir(), freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	f := &runningGateway{gateway: g, url: "http://" + address, application: newApplication(t)}
	g.configure(t, w.plane.Root(), dir, append([]string{
		"127.0.0.1:8080", verifier, "127.0.0.1:8090", f.application.address(),
		"0.0.0.0:8000", address, ":8000", ":" + port, "8000", address,
		"/etc/haproxy/", dir + "/", "/etc/traefik/", dir + "/",
		// The load balancer that is trusted: where these tests' client is unless it says otherwise.
		"192.0.2.0/24", "127.0.0.1/32",
	}, changes...))
	// Caddy keeps state in these folders, and listens on another port unless it is told where.
	args := []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "CADDY_ADMIN=127.0.0.1:0", program}
	for _, arg := range g.args {
		args = append(args, strings.ReplaceAll(arg, "DIR", dir))
	}
	process, err := controlplane.StartProcess(filepath.Join(dir, "log"), "env", args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := process.Stop(controlplanetest.Timeout); err != nil {
			t.Error(err)
		}
		w.expectNoKeysLogged(t, g, process.Log)
		if t.Failed() {
			t.Logf("%s said:\n%s", g.name, controlplane.Tail(process.Log, 4000))
		}
	})
	f.awaitRoutes(t, process)
	return f
}

// loggedQuery is where nginx's error log has the query of a request.
var loggedQuery = regexp.MustCompile(`(, request: "[A-Z]+ [^"?]*)\?[^"]*`)

// expectNoKeysLogged wants no key in what a gateway logged, but in a query where docs/gateways.md says so.
func (w *suite) expectNoKeysLogged(t *testing.T, g *gateway, log string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Error(err)
	}
	if g.logsQuery {
		text = loggedQuery.ReplaceAll(text, []byte("$1"))
	}
	for name, k := range w.keys {
		if bytes.Contains(text, []byte(k.material)) {
			t.Errorf("%s logs key %s", g.name, name)
		}
	}
}

// configure renders the sample into a folder.
func (g *gateway) configure(t *testing.T, root, dir string, changes []string) {
	t.Helper()
	samples := filepath.Join(root, "config", "samples", "gateways", g.name)
	files, err := os.ReadDir(samples)
	if err != nil {
		t.Fatal(err)
	}
	render := strings.NewReplacer(changes...)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(samples, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, file.Name()), render.Replace(string(text)))
	}
	for name, text := range g.otherFiles {
		write(t, filepath.Join(dir, name), strings.ReplaceAll(text, "DIR", dir))
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitRoutes waits until a request is answered, or kept waiting, by a route: Traefik listens before it has any.
func (f *runningGateway) awaitRoutes(t *testing.T, process *controlplane.Process) {
	t.Helper()
	impatient := http.Client{Timeout: time.Second}
	err := awaitStarted(t.Context(), process, func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url, http.NoBody)
		if err != nil {
			return err
		}
		response, err := impatient.Do(request)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode == http.StatusNotFound {
			return errors.New("it has no routes yet")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("start %s: %v", f.name, err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := controlplane.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

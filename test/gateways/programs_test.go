// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gateways_test

import (
	"bytes"
	"cmp"
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

// trustedProxyFlag makes a verifier trust the gateways of these tests.
const trustedProxyFlag = "--trusted-proxy=127.0.0.1/32"

// verifier returns the verifier with these flags, which all tests share.
func (w *suite) verifier(t *testing.T, flags ...string) *controlplane.Verifier {
	t.Helper()
	return w.verifiers.With(t, append([]string{trustedProxyFlag}, flags...)...)
}

// gateway describes how to run a gateway with its sample.
type gateway struct {
	name string
	// version is the argument that prints the version, and args are the arguments that run the gateway. DIR is replaced by the
	// folder of its configuration.
	version string
	args    []string
	// otherFiles are files that include the sample, if it is not a whole configuration.
	otherFiles map[string]string
	// prepare does what the gateway needs besides files, if anything, and returns the command that runs the program.
	prepare func(w *suite, t *testing.T, dir, program, verifier string, f *runningGateway) []string
	// verifierFlags are the flags of the verifier that the sample needs.
	verifierFlags []string
	// samples matches the files of the sample below config/samples. It defaults to all files of gateways/NAME.
	samples string
	// grpc reports whether the gateway calls the verifier over gRPC.
	grpc bool
	// asksTwice reports whether the gateway calls the verifier again to get the body of a rejection.
	asksTwice bool
	// keepsQuery reports whether the gateway cannot remove a parameter from a query.
	keepsQuery bool
	// logsQuery reports whether the gateway cannot omit queries from its log.
	logsQuery bool
	// removesListed reports whether the gateway removes only the identity headers that the sample lists, and not all names that
	// begin with X-Apikey-.
	removesListed bool
	// unsyncedStatus is the status of its responses while the verifier has not read the keys.
	unsyncedStatus int
}

var gateways = []gateway{
	{
		name: "nginx", version: "-v", args: []string{"-p", "DIR", "-e", "stderr", "-c", "DIR/nginx.conf"},
		otherFiles:    map[string]string{"nginx.conf": nginxMain},
		verifierFlags: []string{"--deny-status-only"}, logsQuery: true, asksTwice: true, removesListed: true,
		unsyncedStatus: http.StatusForbidden,
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
	{
		// Without a hot restart, several can run at the same time.
		name: "envoy", version: "--version", args: []string{"-c", "DIR/envoy.yaml", "--concurrency", "2", "--disable-hot-restart"},
		grpc: true, verifierFlags: trustedAddresses(), unsyncedStatus: http.StatusServiceUnavailable,
	},
	envoyGateway,
}

// trustedAddresses returns flags with which a verifier trusts the addresses of this machine. Envoy appends one of them to
// X-Forwarded-For if its peer is 127.0.0.1, as the load balancer of these tests is.
func trustedAddresses() (flags []string) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, address := range addresses {
		if network, isNetwork := address.(*net.IPNet); isNetwork && network.IP.To4() != nil && !network.IP.IsLoopback() {
			flags = append(flags, "--trusted-proxy="+network.IP.String()+"/32")
		}
	}
	return flags
}

func gatewayNamed(name string) *gateway {
	return &gateways[slices.IndexFunc(gateways, func(g gateway) bool { return g.name == name })]
}

// nginxMain is the part of Debian's nginx.conf around conf.d, with paths below DIR.
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

// addressOf returns the address of a verifier for the protocol of the gateway.
func (g *gateway) addressOf(v *controlplane.Verifier) string {
	if g.grpc {
		return v.GRPC
	}
	return v.HTTP
}

// binary returns the path of the gateway. It skips the test if the file does not exist.
func (g *gateway) binary(t *testing.T, root string) string {
	t.Helper()
	program := filepath.Join(root, "bin", "gateways", g.name)
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("SKIPPED: %s was not tested: there is no %s. Run `make gateways`, which says why", g.name, program)
	}
	return program
}

// logVersion logs the version of the gateway.
func (g *gateway) logVersion(t *testing.T, program string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, g.version).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", g.name, g.version, err, out)
	}
	t.Logf("%s", strings.TrimSpace(string(out)))
}

// runningGateway is a running gateway in front of an application.
type runningGateway struct {
	*gateway

	url string
	// log is the file with its output.
	log         string
	application *application
}

// serve runs a gateway with its sample. It replaces only addresses in the sample, and applies the changes of the test, which take
// precedence.
func (w *suite) serve(t *testing.T, g *gateway, verifier string, changes ...string) *runningGateway {
	t.Helper()
	root, err := controlplane.Root()
	if err != nil {
		t.Fatal(err)
	}
	program, dir, address := g.binary(t, root), t.TempDir(), freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	f := &runningGateway{gateway: g, url: "http://" + address, application: newApplication(t), log: filepath.Join(dir, "log")}
	g.configure(t, root, dir, append(slices.Clone(changes),
		"127.0.0.1:8080", verifier, "127.0.0.1:8090", f.application.address(),
		socketAddress(envoyVerifier), socketAddress(verifier), socketAddress("127.0.0.1:8090"), socketAddress(f.application.address()),
		socketAddress("0.0.0.0:8000"), socketAddress(address),
		"port: 8000", "port: "+port, "0.0.0.0:8000", address, ":8000", ":"+port, "8000", address,
		"/etc/haproxy/", dir+"/", "/run/api-keys/", dir+"/", "/etc/traefik/", dir+"/",
		// The trusted load balancer has the default address of the test client.
		"192.0.2.0/24", "127.0.0.1/32",
		// The timeouts in the sample of Envoy may be too short for a busy machine.
		"timeout: 0.5s", "timeout: 10s", "max_interval: 0.2s", "max_interval: 4s", "connect_timeout: 0.2s", "connect_timeout: 10s",
	))
	// Caddy stores its state in these folders, and its admin endpoint needs a port of its own.
	args := []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "CADDY_ADMIN=127.0.0.1:0"}
	if g.prepare != nil {
		args = append(args, g.prepare(w, t, dir, program, verifier, f)...)
	}
	args = append(args, program)
	for _, arg := range g.args {
		args = append(args, strings.ReplaceAll(arg, "DIR", dir))
	}
	process, err := controlplane.StartProcess(f.log, "env", args...)
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
	f.application.takeRequests()
	return f
}

// envoyVerifier is the address of the verifier in the sample of Envoy.
const envoyVerifier = "apikey-verifier-headless.apikey-manager-system.svc:9001"

// socketAddress returns an address as the sample of Envoy has it.
func socketAddress(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return "socket_address: {address: " + host + ", port_value: " + port + "}"
}

// loggedQuery matches the query of a request in nginx's error log.
var loggedQuery = regexp.MustCompile(`(, request: "[A-Z]+ [^"?]*)\?[^"]*`)

// expectNoKeysLogged fails the test if a gateway has logged a key, except in a query where docs/gateways.md documents it.
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

// configure writes the sample with its changes to a folder.
func (g *gateway) configure(t *testing.T, root, dir string, changes []string) {
	t.Helper()
	samples := cmp.Or(g.samples, filepath.Join("gateways", g.name, "*"))
	files, err := filepath.Glob(filepath.Join(root, "config", "samples", samples))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no sample %s: %v", samples, err)
	}
	render := strings.NewReplacer(changes...)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, filepath.Base(file)), render.Replace(string(text)))
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

// awaitRoutes waits until a route answers a request or lets it wait. Traefik listens before it has routes.
func (f *runningGateway) awaitRoutes(t *testing.T, process *controlplane.Process) {
	t.Helper()
	impatient := http.Client{Timeout: time.Second}
	ctx, cancel := context.WithTimeout(t.Context(), controlplanetest.Timeout)
	defer cancel()
	err := process.Await(ctx, func() error {
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

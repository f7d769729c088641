// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/apikey-manager/apikey-manager/internal/verifier"
	"github.com/apikey-manager/apikey-manager/internal/verifier/server"
)

// options are the flags.
type options struct {
	server server.Options

	sources        []string
	trusted        []string
	addressHeader  string
	accountHeader  string
	realm          string
	denyStatusOnly bool

	ignoreExtensions []string

	auditSample    float64
	accountMetrics bool
	accountLimit   int

	maxStaleness time.Duration

	replica string
	traces  bool

	log zap.Options
}

func newCommand() *cobra.Command {
	o := options{replica: envOr("POD_NAME", hostname()), traces: isTracingEnabled(os.Environ())}
	cmd := &cobra.Command{
		Use:   "verifier",
		Short: "Say which requests carry a good API key",
		Long: "verifier answers gateways and applications that ask whether a request's API key is good: Envoy over gRPC (ext_authz),\n" +
			"other gateways over HTTP (/authz), applications with JSON (/v1/verify). It knows the keys of the whole cluster by their\n" +
			"digests, and goes on from memory while the API server is away. It sends traces if an OTEL_EXPORTER_OTLP_... variable is set.",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PreRunE:       func(*cobra.Command, []string) error { return o.validate() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.log)))
			config, err := ctrl.GetConfig() // reads --kubeconfig
			if err != nil {
				return fmt.Errorf("find the cluster: %w", err)
			}
			return run(cmd.Context(), config, o)
		},
	}
	o.bind(cmd.Flags())
	return cmd
}

func (o *options) bind(f *pflag.FlagSet) {
	const defaultDrain, defaultShutdown = 5 * time.Second, 10 * time.Second
	f.StringVar(&o.server.GRPCAddress, "grpc-bind-address", ":9001", "`address` where Envoy asks; 0 turns it off")
	f.StringVar(&o.server.HTTPAddress, "http-bind-address", ":8080", "`address` where other gateways and applications ask; 0 turns it off")
	f.StringVar(&o.server.UsageAddress, "usage-bind-address", ":8443", "`address` of /v1/usage, over TLS, for the manager: for callers the API server authenticates and authorizes; 0 turns it off")
	f.StringVar(&o.server.MetricsAddress, "metrics-bind-address", ":8082", "`address` of /metrics, for anybody who reaches it, so that it answers while the API server is away; 0 turns it off")
	f.StringVar(&o.server.ProbeAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz; 0 turns it off")

	f.StringArrayVar(&o.sources, "key-source", verifier.DefaultSources, "`place` of the key: header:NAME, header:NAME:SCHEME, query:NAME, cookie:NAME or basic; repeatable. Two different keys in a request are refused")
	f.StringArrayVar(&o.trusted, "trusted-proxy", nil, "`network` or address of proxies whose --client-address-header is believed; repeatable")
	f.StringVar(&o.addressHeader, "client-address-header", "X-Forwarded-For", "`header` in which trusted proxies say whom they forward for: X-Forwarded-For, X-Real-IP or Forwarded (RFC 7239). The others are ignored")
	f.StringVar(&o.accountHeader, "account-header", "", "request `header` that must identify the key's account: NAME or NAME:name if it holds the account's name, NAME:externalID if it holds its spec.externalID, such as X-FF-Company:externalID")
	f.StringVar(&o.realm, "realm", "apikey-manager", "what WWW-Authenticate says that keys are for")
	f.BoolVar(&o.denyStatusOnly, "deny-status-only", false, "refuse with 401 and 403 alone, for gateways that make 500 of anything else, such as nginx")

	f.StringSliceVar(&o.ignoreExtensions, "ignore-extensions", nil, "`names` of Envoy's context extensions that are not meant for the verifier, separated by commas. A route with any other that is not a requirement is refused")

	f.Float64Var(&o.auditSample, "audit-sample", 0, "which share of those who were let in gets an audit line, from 0 to 1; those who were not always do")
	f.BoolVar(&o.accountMetrics, "account-metrics", false, "count verdicts by account as well")
	f.IntVar(&o.accountLimit, "account-metrics-limit", 1000, "how many accounts are counted; the rest are counted together, as the account with an empty name")

	f.StringVar(&o.server.TLS.Cert, "tls-cert-file", "", "`file` with the server's certificate, read again when it changes; without it the faces speak without TLS")
	f.StringVar(&o.server.TLS.Key, "tls-key-file", "", "`file` with the key of the server's certificate")
	f.StringVar(&o.server.TLS.ClientCA, "tls-client-ca-file", "", "`file` with the certificates that must vouch for whoever asks, read again for each connection")
	f.DurationVar(&o.maxStaleness, "max-staleness", 0, "how long to give verdicts without a working watch of the API server; after that every request is refused until all keys are read again. 0 gives verdicts however long it takes")
	f.IntVar(&o.server.MaxConnections, "max-connections", 10000, "how many connections each of --grpc-bind-address and --http-bind-address accepts at once; further ones wait. 0 accepts any number")
	f.BoolVar(&o.server.Reflection, "grpc-reflection", false, "serve gRPC reflection at --grpc-bind-address, for tools such as grpcurl")
	f.DurationVar(&o.server.DrainDelay, "drain-delay", defaultDrain, "how long to go on serving, unready, when told to end")
	f.DurationVar(&o.server.ShutdownTimeout, "shutdown-timeout", defaultShutdown, "how long to wait after that for answers under way")

	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.log.BindFlags(zapFlags)
	f.AddGoFlagSet(zapFlags)
	f.AddGoFlag(flag.CommandLine.Lookup("kubeconfig"))
}

func (o *options) validate() error {
	if _, err := verifier.NewKeyExtractor(o.sources); err != nil {
		return fmt.Errorf("--key-source: %w", err)
	}
	if _, err := verifier.NewClientIPResolver(o.trusted); err != nil {
		return fmt.Errorf("--trusted-proxy: %w", err)
	}
	if _, err := verifier.ParseAddressHeader(o.addressHeader); err != nil {
		return fmt.Errorf("--client-address-header: %w", err)
	}
	if _, err := server.ParseAccountHeader(o.accountHeader); err != nil {
		return fmt.Errorf("--account-header: %w", err)
	}
	switch t := o.server.TLS; {
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("--tls-cert-file and --tls-key-file: give both or none")
	case t.ClientCA != "" && t.Cert == "":
		return errors.New("--tls-client-ca-file: give --tls-cert-file and --tls-key-file as well, or leave it out")
	case !(o.auditSample >= 0 && o.auditSample <= 1): // not a number is neither
		return fmt.Errorf("--audit-sample is %v: give a share from 0 to 1", o.auditSample)
	case o.accountLimit < 1:
		return fmt.Errorf("--account-metrics-limit is %d: give at least 1, or leave --account-metrics out", o.accountLimit)
	case !realmPattern.MatchString(o.realm):
		return fmt.Errorf("--realm is %q: give letters, digits, spaces and punctuation without quotes, such as orders API", o.realm)
	case slices.ContainsFunc(o.ignoreExtensions, isRequirement):
		return fmt.Errorf("--ignore-extensions is %s: leave scopes, account, externalID and preflight out, which are the verifier's", strings.Join(o.ignoreExtensions, ","))
	case o.maxStaleness != 0 && o.maxStaleness < minMaxStaleness:
		return fmt.Errorf("--max-staleness is %s: give at least %s, or 0 to give verdicts however long it takes", o.maxStaleness, minMaxStaleness)
	case o.server.MaxConnections < 0:
		return fmt.Errorf("--max-connections is %d: give at least 1, or 0 for any number", o.server.MaxConnections)
	case o.server.DrainDelay < 0:
		return fmt.Errorf("--drain-delay is %s: give 0s or longer", o.server.DrainDelay)
	case o.server.ShutdownTimeout <= 0:
		return fmt.Errorf("--shutdown-timeout is %s: give more than 0s, such as 10s", o.server.ShutdownTimeout)
	}
	return nil
}

func isRequirement(extension string) bool {
	return slices.Contains([]string{"scopes", "account", "externalID", "preflight"}, extension)
}

// minMaxStaleness is the least --max-staleness: a watch that is started again from time to time must not end verdicts.
const minMaxStaleness = 5 * time.Second

var realmPattern = regexp.MustCompile(`^[ !#-\[\]-~]*$`)

// isTracingEnabled is whether the environment says where to send traces, and does not say to send none.
func isTracingEnabled(environment []string) bool {
	wanted := false
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case name == "OTEL_SDK_DISABLED" && strings.EqualFold(value, "true"), name == "OTEL_TRACES_EXPORTER" && value == "none":
			return false
		case name == "OTEL_EXPORTER_OTLP_ENDPOINT", name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":
			wanted = wanted || value != ""
		}
	}
	return wanted
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "verifier"
	}
	return name
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

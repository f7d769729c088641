// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	grpcstatus "google.golang.org/grpc/status"
)

// Options configures a Server.
type Options struct {
	// GRPCAddress, HTTPAddress and ProbeAddress are the addresses for Envoy, for other gateways and applications, and
	// for the kubelet. UsageAddress is the address for the manager, MetricsAddress the address for scraping metrics.
	// "0" disables an address.
	GRPCAddress, HTTPAddress, ProbeAddress, UsageAddress, MetricsAddress string
	TLS                                                                  TLSFiles
	// ErrorLog receives errors of HTTP connections. It defaults to the standard logger.
	ErrorLog *log.Logger
	// Usage is served on UsageAddress over TLS, Metrics on MetricsAddress. A nil handler disables the address.
	Usage, Metrics http.Handler
	// DrainDelay determines how long the server keeps serving after ctx is done, so that gateways have time to stop
	// sending requests.
	DrainDelay time.Duration
	// ShutdownTimeout limits how long the server then waits for requests in flight.
	ShutdownTimeout time.Duration
	// WrapHTTP wraps the HTTP handlers, and GRPC adds options to the gRPC server. Both add tracing, and may be nil.
	WrapHTTP func(http.Handler) http.Handler
	GRPC     []grpc.ServerOption
	// Reflection enables gRPC reflection, for tools such as grpcurl.
	Reflection bool
	// MaxConnections limits the concurrent connections to each of GRPCAddress and HTTPAddress. Further connections
	// wait until one is closed. Zero means no limit.
	MaxConnections int
	// IdleTimeout closes connections without requests. It defaults to two minutes.
	IdleTimeout time.Duration
}

// Server serves all protocols.
type Server struct {
	options      Options
	authorizer   *Authorizer
	certificates *certificates
	health       *health.Server
	grpc         *grpc.Server
	listeners    []*listener
	draining     atomic.Bool
}

// listener holds an address and the server that uses it.
type listener struct {
	flag, address string
	net.Listener
	serve func(net.Listener) error
	// limited reports whether MaxConnections applies.
	limited bool
	// stop shuts the server down gracefully. It returns when requests in flight are complete or ctx is done.
	stop func(context.Context) error
}

// New returns a Server that is already listening, so that its addresses are known. It answers requests once Run is
// called.
func New(ctx context.Context, authorizer *Authorizer, o Options) (*Server, error) {
	certs, err := newCertificates(o.TLS)
	if err != nil {
		return nil, err
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = idleTimeout
	}
	s := &Server{options: o, authorizer: authorizer, certificates: certs, health: health.NewServer()}
	if err := s.addListeners(); err != nil {
		return nil, err
	}
	for _, l := range s.listeners {
		var config net.ListenConfig
		if l.Listener, err = config.Listen(ctx, "tcp", l.address); err != nil {
			s.close()
			return nil, fmt.Errorf("--%s: %w", l.flag, err)
		}
		if l.limited && o.MaxConnections > 0 {
			l.Listener = netutil.LimitListener(l.Listener, o.MaxConnections)
		}
	}
	return s, nil
}

func (s *Server) close() {
	for _, l := range s.listeners {
		if l.Listener != nil {
			_ = l.Close() // no request was served on it
		}
	}
}

func (s *Server) addListeners() error {
	s.addGRPC()
	s.addHTTP("http-bind-address", s.options.HTTPAddress, s.routes(), s.certificates.serverConfig("h2", "http/1.1"))
	for _, l := range s.listeners {
		l.limited = true
	}
	s.addHTTP("health-probe-bind-address", s.options.ProbeAddress, s.probes(), nil)
	if s.options.Metrics != nil {
		s.addHTTP("metrics-bind-address", s.options.MetricsAddress, s.options.Metrics, nil)
	}
	if s.options.Usage == nil {
		return nil
	}
	config, err := s.certificates.usageConfig()
	s.addHTTP("usage-bind-address", s.options.UsageAddress, s.options.Usage, config)
	return err
}

const disabled = "0"

// The limits for a single client.
const (
	maxMessage      = 256 << 10 // of a gRPC message: the headers of a request, and whatever else Envoy is configured to send
	maxHeader       = 128 << 10
	maxStreams      = 1000
	headerTimeout   = 5 * time.Second
	requestTimeout  = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	minPingInterval = 10 * time.Second
	// maxConnectionAge makes Envoy reconnect from time to time, so that new replicas receive their share of the
	// requests.
	maxConnectionAge = 5 * time.Minute
)

func (s *Server) addGRPC() {
	if s.options.GRPCAddress == disabled {
		return
	}
	workers := uint32(runtime.GOMAXPROCS(0)) //nolint:gosec // the number of cores fits
	options := append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(newCheckCodec()),
		grpc.NumStreamWorkers(workers), grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(requestTimeout),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(maxHeader), grpc.UnknownServiceHandler(unknownMethod),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: idleTimeout, Timeout: requestTimeout, MaxConnectionIdle: s.options.IdleTimeout,
			MaxConnectionAge: maxConnectionAge, MaxConnectionAgeGrace: requestTimeout,
		}),
	}, s.options.GRPC...)
	if config := s.certificates.serverConfig("h2"); config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	s.grpc = grpc.NewServer(options...)
	newExtAuthz(s.authorizer).register(s.grpc)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	if s.options.Reflection {
		reflection.Register(s.grpc)
	}
	s.setHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	s.listeners = append(s.listeners, &listener{
		flag: "grpc-bind-address", address: s.options.GRPCAddress, serve: s.grpc.Serve, stop: s.stopGRPC,
	})
}

// unknownMethod refuses a call of an unknown method. The default response of the library would repeat the name of the
// method.
func unknownMethod(any, grpc.ServerStream) error {
	return grpcstatus.Error(codes.Unimplemented, "unknown method")
}

func (s *Server) stopGRPC(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
		return ctx.Err()
	}
}

func (s *Server) addHTTP(flag, address string, handler http.Handler, config *tls.Config) {
	if address == disabled {
		return
	}
	server := &http.Server{
		Handler: withNoStore(handler), TLSConfig: config, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout,
		ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: s.options.IdleTimeout, ErrorLog: s.options.ErrorLog,
	}
	l := &listener{flag: flag, address: address, serve: server.Serve, stop: func(ctx context.Context) error {
		return errors.Join(server.Shutdown(ctx), server.Close())
	}}
	if config != nil {
		l.serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	s.listeners = append(s.listeners, l)
}

// withNoStore prevents caches from storing responses: a verdict applies to one request only.
func withNoStore(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Cache-Control"] = noStore
		handler.ServeHTTP(w, r)
	})
}

// routes returns the handler for HTTPAddress. It does not clean up paths, because they may contain the path of a
// client.
func (s *Server) routes() http.Handler {
	routes := map[string]http.Handler{authzPath: s.authorizer.Authz(), verifyPath: s.authorizer.Verify(), explainPath: s.authorizer.Explain()}
	handler := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler := routes[Route(r.URL.Path)]; handler != nil {
			handler.ServeHTTP(w, r)
			return
		}
		problem{Status: http.StatusNotFound, Detail: "the path must be " + authzPath + ", " + verifyPath + " or " + explainPath}.write(w)
	}))
	if s.options.WrapHTTP != nil {
		return s.options.WrapHTTP(handler)
	}
	return handler
}

// Route returns the registered path of the handler for a request path, or "other" if there is none. The part after
// /authz/ is the path of the client, the part after /authz; holds requirements.
func Route(path string) string {
	switch {
	case path == authzPath, strings.HasPrefix(path, authzPath+"/"), strings.HasPrefix(path, authzPath+";"):
		return authzPath
	case path == verifyPath, path == explainPath:
		return path
	}
	return "other"
}

func (s *Server) probes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case s.draining.Load():
			http.Error(w, "draining", http.StatusServiceUnavailable)
		case !s.authorizer.Clusters.Complete():
			http.Error(w, "the API keys are not synced", http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte("ok\n"))
		}
	})
	return mux
}

// setHealth sets the gRPC health status of the server and of each service.
func (s *Server) setHealth(status healthv1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, status)
	}
}

// Run serves until ctx is done, and then drains.
func (s *Server) Run(ctx context.Context) error {
	serveCtx, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, serveCtx := errgroup.WithContext(serveCtx)
	group.Go(func() error { return s.certificates.run(serveCtx) })
	for _, l := range s.listeners {
		group.Go(func() error {
			if err := l.serve(l.Listener); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("--%s: %w", l.flag, err)
			}
			return nil
		})
	}
	group.Go(func() error {
		defer end()
		s.updateHealth(ctx, serveCtx)
		return s.drain(serveCtx)
	})
	return group.Wait()
}

// updateHealth reports over gRPC health whether verdicts are given. It returns when the server should shut down.
func (s *Server) updateHealth(ctx, serveCtx context.Context) {
	for {
		complete, changed := s.authorizer.Clusters.Completeness()
		if s.grpc != nil {
			s.setHealth(servingStatus(complete))
		}
		select {
		case <-ctx.Done():
			return
		case <-serveCtx.Done():
			return
		case <-changed:
		}
	}
}

func servingStatus(serving bool) healthv1.HealthCheckResponse_ServingStatus {
	if serving {
		return healthv1.HealthCheckResponse_SERVING
	}
	return healthv1.HealthCheckResponse_NOT_SERVING
}

// drain reports the server as unready, keeps serving for DrainDelay, and then shuts down.
func (s *Server) drain(serveCtx context.Context) error {
	s.draining.Store(true)
	s.health.Shutdown()
	sleep(serveCtx, s.options.DrainDelay)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(serveCtx), s.options.ShutdownTimeout)
	defer cancel()
	var group errgroup.Group
	for _, l := range s.listeners {
		group.Go(func() error {
			if err := l.stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("--%s: %w", l.flag, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func sleep(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// Address returns the address of the listener that a flag configures, or nil if it is disabled.
func (s *Server) Address(flag string) net.Addr {
	for _, l := range s.listeners {
		if l.flag == flag {
			return l.Addr()
		}
	}
	return nil
}

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

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
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

// Options say where and how the faces are served.
type Options struct {
	// GRPCAddress, HTTPAddress and ProbeAddress are where to listen for Envoy, for other gateways and applications, and for
	// the kubelet; UsageAddress and MetricsAddress for the manager, and for those who scrape metrics. "0" turns one off.
	GRPCAddress, HTTPAddress, ProbeAddress, UsageAddress, MetricsAddress string
	TLS                                                                  TLSFiles
	// ErrorLog is told of connections that came to nothing over HTTP; nil: the standard log.
	ErrorLog *log.Logger
	// Usage and Metrics are what is served on UsageAddress, over TLS, and on MetricsAddress; nil: nothing.
	Usage, Metrics http.Handler
	// DrainDelay is how long to go on serving after the process was told to end: gateways have to hear of it first.
	DrainDelay time.Duration
	// ShutdownTimeout bounds the wait for answers under way after that.
	ShutdownTimeout time.Duration
	// WrapHTTP puts something around the HTTP faces, and GRPC are further options of the gRPC server: traces. Nil: none.
	WrapHTTP func(http.Handler) http.Handler
	GRPC     []grpc.ServerOption
	// Reflection serves gRPC reflection, for tools such as grpcurl.
	Reflection bool
	// MaxConnections is how many connections each of GRPCAddress and HTTPAddress accepts at once. Further ones wait until
	// one of them ends. 0: any number.
	MaxConnections int
	// IdleTimeout is how long a connection without requests is kept; 0: two minutes.
	IdleTimeout time.Duration
}

// Server serves the faces.
type Server struct {
	options      Options
	authorizer   *Authorizer
	certificates *certificates
	health       *health.Server
	grpc         *grpc.Server
	listeners    []*listener
	draining     atomic.Bool
}

// listener is an address and who serves it.
type listener struct {
	flag, address string
	net.Listener
	serve func(net.Listener) error
	// limited reports whether MaxConnections applies.
	limited bool
	// stop ends serving when answers under way were given, or the context ended.
	stop func(context.Context) error
}

// New returns a server that listens already, so that its addresses are known; nobody is answered before Run.
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
			_ = l.Close() // nobody was answered on it
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

// What one client may take of the server.
const (
	maxMessage      = 256 << 10 // of gRPC: the headers of a request, and what else Envoy is told to send
	maxHeader       = 128 << 10
	maxStreams      = 1000
	headerTimeout   = 5 * time.Second
	requestTimeout  = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	minPingInterval = 10 * time.Second
	// maxConnectionAge has Envoy connect anew from time to time, so that replicas that were added get their share.
	maxConnectionAge = 5 * time.Minute
)

func (s *Server) addGRPC() {
	if s.options.GRPCAddress == disabled {
		return
	}
	workers := uint32(runtime.GOMAXPROCS(0)) //nolint:gosec // as many as there are cores
	options := append([]grpc.ServerOption{
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
	authv3.RegisterAuthorizationServer(s.grpc, s.authorizer.ExtAuthz())
	healthv1.RegisterHealthServer(s.grpc, s.health)
	if s.options.Reflection {
		reflection.Register(s.grpc)
	}
	s.setHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	s.listeners = append(s.listeners, &listener{
		flag: "grpc-bind-address", address: s.options.GRPCAddress, serve: s.grpc.Serve, stop: s.stopGRPC,
	})
}

// unknownMethod answers a call of a method that does not exist. The library's own answer would repeat its name.
func unknownMethod(any, grpc.ServerStream) error {
	return grpcstatus.Error(codes.Unimplemented, "there is no such method")
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

// withNoStore keeps caches from storing an answer, whatever it is: a verdict is good for one request.
func withNoStore(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Cache-Control"] = noStore
		handler.ServeHTTP(w, r)
	})
}

// routes are those over HTTP. What looks like an odd path is a client's, and is not tidied up.
func (s *Server) routes() http.Handler {
	routes := map[string]http.Handler{authzPath: s.authorizer.Authz(), verifyPath: s.authorizer.Verify(), explainPath: s.authorizer.Explain()}
	handler := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler := routes[Route(r.URL.Path)]; handler != nil {
			handler.ServeHTTP(w, r)
			return
		}
		problem{Status: http.StatusNotFound, Detail: "there is " + authzPath + ", " + verifyPath + " and " + explainPath}.write(w)
	}))
	if s.options.WrapHTTP != nil {
		return s.options.WrapHTTP(handler)
	}
	return handler
}

// Route is which of the faces over HTTP a path leads to, by its own path; "other": none. What follows /authz/ is the path
// that a client asked its gateway for, and what follows /authz; are requirements.
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
		case !s.authorizer.Index.Complete():
			http.Error(w, "the keys are not known, or not known to be up to date", http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte("ok\n"))
		}
	})
	return mux
}

// setHealth is what gRPC health says of the server as a whole, and of each service.
func (s *Server) setHealth(status healthv1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, status)
	}
}

// Run serves until the context ends, and then for as long as gateways need to hear of it.
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

// updateHealth tells over gRPC health whether verdicts are given, and returns when the server is to end.
func (s *Server) updateHealth(ctx, serveCtx context.Context) {
	for {
		complete, changed := s.authorizer.Index.Completeness()
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

// drain says that the server is to end, goes on serving for a while, and ends.
func (s *Server) drain(serveCtx context.Context) error {
	s.draining.Store(true)
	s.health.Shutdown()
	pause(serveCtx, s.options.DrainDelay)
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

func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// Address is where a face can be reached, by its flag's name; nil: it is off.
func (s *Server) Address(flag string) net.Addr {
	for _, l := range s.listeners {
		if l.flag == flag {
			return l.Addr()
		}
	}
	return nil
}

// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy forwards TCP connections from an address of its own, and can cut them.
type proxy struct {
	address, target string
	// delay is the time for which each new connection is held.
	delay time.Duration

	mu          sync.Mutex
	listener    net.Listener
	connections map[net.Conn]bool
}

func startProxy(t *testing.T, target string, delay time.Duration) *proxy {
	t.Helper()
	p := &proxy{address: "127.0.0.1:0", target: target, delay: delay, connections: map[net.Conn]bool{}}
	if err := p.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.cut)
	return p
}

// open starts listening at the address that the proxy had.
func (p *proxy) open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", p.address)
	if err != nil {
		return err
	}
	p.listener, p.address = listener, listener.Addr().String()
	go p.serve(listener)
	return nil
}

// cut closes all connections and rejects new ones.
func (p *proxy) cut() {
	p.mu.Lock()
	_ = p.listener.Close()
	p.mu.Unlock()
	p.drop()
}

// drop closes all connections. New ones are accepted.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.connections {
		_ = conn.Close()
	}
	clear(p.connections)
}

func (p *proxy) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go p.forward(conn)
	}
}

func (p *proxy) forward(from net.Conn) {
	time.Sleep(p.delay)
	to, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = from.Close()
		return
	}
	p.mu.Lock()
	p.connections[from], p.connections[to] = true, true
	p.mu.Unlock()
	end := func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		delete(p.connections, from)
		delete(p.connections, to)
		p.mu.Unlock()
	}
	go func() { _, _ = io.Copy(to, from); end() }()
	_, _ = io.Copy(from, to)
	end()
}

// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

// Package main is what runs in the pods of the end-to-end tests:
//
//	app serve                 the application behind the gateway
//	app ask URL DIRECTORY     a client that sends requests with the keys of mounted Secrets, all the time
//	app kill CONTAINER-ID     kills the processes of another container on the node with SIGKILL
//	app sockets CONTAINER-ID  prints the ports of another container on the node
package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

// address is where serve and ask listen.
const address = ":8090"

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return listen(http.HandlerFunc(serve))
	case len(args) == 3 && args[0] == "ask":
		client, err := newClient(args[1], args[2])
		if err != nil {
			return err
		}
		return listen(client)
	case len(args) == 2 && args[0] == "kill":
		return kill(args[1])
	case len(args) == 2 && args[0] == "sockets":
		return sockets(args[1])
	default:
		return errors.New("usage: app serve | ask URL DIRECTORY | kill CONTAINER-ID | sockets CONTAINER-ID")
	}
}

func listen(handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: time.Second}
	return server.ListenAndServe()
}

// serve answers with the identity that the gateway passes on, and fails if it receives a key.
func serve(out http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-API-Key") != "" {
		http.Error(out, "the application received the key", http.StatusInternalServerError)
		return
	}
	_, _ = fmt.Fprintf(out, "%s %s\n", r.Header.Get("X-Apikey-Account"), r.Header.Get("X-Apikey-Name"))
}

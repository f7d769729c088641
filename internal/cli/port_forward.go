// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	verifierService = "apikey-verifier"
	// portForwardTimeout limits how long a port-forward to one pod may take to start.
	portForwardTimeout = 15 * time.Second
	// maxPortForwards limits how many pods are tried.
	maxPortForwards = 3
)

// forwardedVerifier is a verifier behind a port-forward.
type forwardedVerifier struct {
	// URL is the address of the verifier on this machine, ServerName the name in its certificate if it serves TLS.
	URL, ServerName string
	// Close ends the port-forward.
	Close func()
}

// forwardToVerifier starts a port-forward to a ready pod of the verifier's Service.
func forwardToVerifier(ctx context.Context, c client.Client, config *rest.Config, namespace string) (*forwardedVerifier, error) {
	pods, err := verifierPods(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, pod := range pods[:min(len(pods), maxPortForwards)] {
		forwarded, err := forwardToPod(ctx, config, &pod)
		if err == nil {
			return forwarded, nil
		}
		if strings.Contains(err.Error(), "is forbidden") { // the error of an upgrade has no type
			return nil, errPortForwardForbidden(namespace)
		}
		problems = append(problems, fmt.Errorf("port-forward to pod %s: %w", pod.Name, err))
	}
	return nil, errors.Join(problems...)
}

// verifierPods returns the ready pods of the verifier's Service.
func verifierPods(ctx context.Context, c client.Client, namespace string) ([]corev1.Pod, error) {
	var service corev1.Service
	switch err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: verifierService}, &service); {
	case apierrors.IsForbidden(err):
		return nil, errPortForwardForbidden(namespace)
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("service %s does not exist in namespace %s: name the namespace of the verifier with "+
			"--verifier-namespace, or its address with --url", verifierService, namespace)
	case err != nil:
		return nil, err
	}
	var list corev1.PodList
	selector := client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(service.Spec.Selector)}
	if err := c.List(ctx, &list, client.InNamespace(namespace), selector, client.Limit(pageSize)); apierrors.IsForbidden(err) {
		return nil, errPortForwardForbidden(namespace)
	} else if err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return !isPodReady(&pod) })
	if len(pods) == 0 {
		return nil, fmt.Errorf("service %s in namespace %s has no ready pod: kubectl get pods -n %s", verifierService, namespace, namespace)
	}
	return pods, nil
}

func isPodReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

var errNoRight = errors.New("no right to reach the verifier")

func errPortForwardForbidden(namespace string) error {
	return fmt.Errorf("%w: it takes get services, list pods and create pods/portforward in namespace %s "+
		"(kubectl auth can-i create pods/portforward -n %s), or the address of a verifier in --url", errNoRight, namespace, namespace)
}

// forwardToPod starts a port-forward to the port of a verifier pod that serves HTTP, on a free port of this machine.
func forwardToPod(ctx context.Context, config *rest.Config, pod *corev1.Pod) (*forwardedVerifier, error) {
	port, secure := verifierPort(pod)
	if port == 0 {
		return nil, errors.New("the pod has no container port named http")
	}
	dialer, err := portForwardDialer(config, pod)
	if err != nil {
		return nil, err
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(port)}, stop, ready,
		io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	if err := awaitForward(ctx, ready, failed); err != nil {
		close(stop)
		return nil, err
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		close(stop)
		return nil, err
	}
	local := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local)))
	forwarded := &forwardedVerifier{URL: "http://" + local, Close: func() { close(stop) }}
	if secure {
		forwarded.URL, forwarded.ServerName = "https://"+local, verifierService+"."+pod.Namespace+".svc"
	}
	return forwarded, nil
}

func awaitForward(ctx context.Context, ready <-chan struct{}, failed <-chan error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, portForwardTimeout, fmt.Errorf("not ready after %s", portForwardTimeout))
	defer cancel()
	select {
	case <-ready:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// verifierPort returns the port on which a verifier pod serves HTTP, and whether it serves TLS there.
func verifierPort(pod *corev1.Pod) (port int, secure bool) {
	for _, container := range pod.Spec.Containers {
		for _, p := range container.Ports {
			if p.Name == "http" {
				hasCertificate := func(argument string) bool { return strings.HasPrefix(argument, "--tls-cert-file") }
				return int(p.ContainerPort), slices.ContainsFunc(container.Args, hasCertificate)
			}
		}
	}
	return 0, false
}

// portForwardDialer dials like kubectl: over WebSocket, and over SPDY if the API server does not support that.
func portForwardDialer(config *rest.Config, pod *corev1.Pod) (httpstream.Dialer, error) {
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	address := clientset.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).
		SubResource("portforward").URL()
	roundTripper, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	fallback := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, address)
	tunnel, err := portforward.NewSPDYOverWebsocketDialerForStreaming(address, config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(tunnel, fallback, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

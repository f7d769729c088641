// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	managerDeployment  = "apikey-manager"
	verifierDeployment = "apikey-verifier"
	leaderLease        = "apikey-manager"
)

// checkDeployment checks that all replicas of a Deployment are ready and have the version of the plugin.
func (c *checker) checkDeployment(ctx context.Context, name string) checkResult {
	var deployment appsv1.Deployment
	if err := c.reader.Get(ctx, client.ObjectKey{Namespace: c.verifier.namespace, Name: name}, &deployment); err != nil {
		return unlessReadable(err, "get deployments.apps in namespace "+c.verifier.namespace,
			installAction+", or name its namespace with --manager-namespace")
	}
	pods := fmt.Sprintf("kubectl get pods -n %s -l app.kubernetes.io/name=apikey-manager", c.verifier.namespace)
	want, status := int(ptr.Deref(deployment.Spec.Replicas, 1)), deployment.Status
	switch {
	case want == 0:
		return failed(fmt.Sprintf("kubectl -n %s scale deployment %s --replicas=2", c.verifier.namespace, name), "scaled to 0 replicas")
	case int(status.ReadyReplicas) < want:
		return failed(pods, "%d of %s ready", status.ReadyReplicas, plural(want, "replica", "replicas"))
	case status.ObservedGeneration < deployment.Generation, int(status.UpdatedReplicas) < want:
		return failed(fmt.Sprintf("kubectl -n %s rollout status deployment %s", c.verifier.namespace, name), "a rollout is in progress")
	}
	version := deploymentVersion(&deployment)
	if version != c.version && isRelease(version) && isRelease(c.version) {
		return failed("install the plugin of the same version, or upgrade the cluster", "version %s, but this plugin is %s", version, c.version)
	}
	return ok("%s ready, image %s", plural(want, "replica", "replicas"), deploymentImage(&deployment))
}

// release matches the version of a release.
var release = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+`)

// isRelease reports whether a version is that of a release. Other tags of images, such as latest, cannot be compared.
func isRelease(version string) bool { return release.MatchString(version) }

// deploymentImage returns the image of the first container.
func deploymentImage(d *appsv1.Deployment) string {
	if len(d.Spec.Template.Spec.Containers) == 0 {
		return ""
	}
	return d.Spec.Template.Spec.Containers[0].Image
}

// deploymentVersion returns the version of a Deployment: the tag of its image.
func deploymentVersion(d *appsv1.Deployment) string { return imageTag(deploymentImage(d)) }

// checkLeader checks that a manager holds the lease, and has renewed it in time.
func (c *checker) checkLeader(ctx context.Context) checkResult {
	var lease coordinationv1.Lease
	if err := c.reader.Get(ctx, client.ObjectKey{Namespace: c.verifier.namespace, Name: leaderLease}, &lease); err != nil {
		return unlessReadable(err, "get leases.coordination.k8s.io in namespace "+c.verifier.namespace, "read the log of the manager")
	}
	holder, renewed := ptr.Deref(lease.Spec.HolderIdentity, ""), ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{})
	if holder == "" || renewed.IsZero() {
		return failed("read the log of the manager", "no manager leads")
	}
	age := c.clock.Now().Add(c.skew).Sub(renewed.Time).Round(time.Second)
	if age > time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 15))*time.Second+maxClockSkew {
		return failed("read the log of the manager", "%s leads, but has not renewed its lease for %s", holder, age)
	}
	return ok("%s leads", holder)
}

// checkVerifier asks a verifier without a key.
func (c *checker) checkVerifier(ctx context.Context) checkResult {
	asked, end, err := c.verifier.connect(ctx, c.environment)
	switch {
	case errors.Is(err, errNoRight):
		return unknown("name the address of a verifier with --url", "%v", err)
	case err != nil:
		return failed("kubectl describe pods -n "+c.verifier.namespace, "%v", err)
	}
	defer end()
	result, err := asked.verify(ctx, verifyRequest{})
	switch {
	case err != nil:
		return failed("read the log of the verifier", "%v", err)
	case result.Code != "MISSING":
		return failed("read the log of the verifier: it has not read all keys, or it has lost its connection to the API server",
			"answers %s", result.Code)
	}
	return ok("has read all keys, and answers")
}

// installedVersions returns the versions of the manager and of the verifier. A version that the user may not see is empty.
func installedVersions(ctx context.Context, c client.Client, namespace string) (manager, verifier string, err error) {
	for name, version := range map[string]*string{managerDeployment: &manager, verifierDeployment: &verifier} {
		var deployment appsv1.Deployment
		switch failure := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &deployment); {
		case failure == nil:
			*version = deploymentVersion(&deployment)
		case !apierrors.IsForbidden(failure) && !apierrors.IsNotFound(failure):
			err = failure
		}
	}
	return manager, verifier, err
}

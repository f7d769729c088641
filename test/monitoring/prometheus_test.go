// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
	"github.com/apikey-manager/apikey-manager/test/mailbox"
	"github.com/apikey-manager/apikey-manager/test/tools"
)

// environment holds a control plane with a manager, a verifier and a mail server, and a Prometheus server that scrapes them.
type environment struct {
	controlplanetest.Objects

	plane    *controlplane.ControlPlane
	admin    client.Client
	verifier *controlplane.Verifier
	manager  string // the address of its metrics
	address  string // the address of Prometheus
}

func start(t *testing.T) *environment {
	t.Helper()
	program := tools.Path(t, "prometheus")
	webhook, err := controlplane.FreePort()
	controlplanetest.Must(t, err)
	plane := controlplanetest.Start(t, controlplane.Options{WebhookPort: webhook, WithoutControllers: true})
	admin := controlplanetest.Connect(t, plane.Config())
	e := &environment{Objects: controlplanetest.NewObjects(admin), plane: plane, admin: admin, manager: freeAddress(t), address: freeAddress(t)}
	verifiers, err := controlplanetest.NewVerifiers(t.Context(), plane)
	controlplanetest.Must(t, err)
	e.verifier = verifiers.StartReplica(t, admin, "--account-metrics")
	e.startManager(t, webhook)
	e.startPrometheus(t, program)
	return e
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := controlplane.FreePort()
	controlplanetest.Must(t, err)
	return "127.0.0.1:" + strconv.Itoa(port)
}

// startManager starts a manager that is elected, sends mail and polls the verifier, as it does on a cluster.
func (e *environment) startManager(t *testing.T, webhook int) {
	t.Helper()
	mails, err := mailbox.Start("")
	controlplanetest.Must(t, err)
	t.Cleanup(func() { _ = mails.Close() })
	flags := append(controlplanetest.VerifierFlags(t, e.plane, e.admin),
		"--leader-elect=true", "--metrics-bind-address="+e.manager,
		"--smtp-host=127.0.0.1", "--smtp-port="+strconv.Itoa(mails.Port()), "--smtp-tls=none", "--smtp-from=keys@example.com",
	)
	_, err = controlplanetest.StartManager(t.Context(), e.plane, controlplane.ManagerOptions{WebhookPort: webhook, Flags: flags})
	controlplanetest.Must(t, err)
}

// startPrometheus starts a Prometheus server that loads the alerts and scrapes once per second, with the labels that the Prometheus
// operator adds.
func (e *environment) startPrometheus(t *testing.T, program string) {
	t.Helper()
	dir := t.TempDir()
	var content prometheusRule
	readYAML(t, "config/prometheus/rules.yaml", &content)
	writeYAML(t, filepath.Join(dir, "rules.yaml"), content.Spec)
	writeYAML(t, filepath.Join(dir, "prometheus.yaml"), map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{"rules.yaml"},
		"scrape_configs": []any{e.scrapeManager(t, dir), scrape("apikey-verifier", e.verifier.Metrics)},
	})
	process, err := controlplane.StartProcess(filepath.Join(dir, "log"), program,
		"--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+e.address)
	controlplanetest.Must(t, err)
	t.Cleanup(func() { _ = process.Stop(controlplanetest.Timeout) })
	controlplanetest.Eventually(t, "Prometheus is ready", func() error {
		if err := process.Err(); err != nil {
			t.Fatal(err)
		}
		_, err := e.query(t.Context(), "vector(1)")
		return err
	})
}

func writeYAML(t *testing.T, file string, content any) {
	t.Helper()
	data, err := yaml.Marshal(content)
	controlplanetest.Must(t, err)
	controlplanetest.Must(t, os.WriteFile(file, data, 0o600))
}

func scrape(job, address string) map[string]any {
	return map[string]any{"job_name": job, "static_configs": []any{map[string]any{
		"targets": []string{address}, "labels": map[string]string{"namespace": "apikey-manager-system", "pod": job + "-0"},
	}}}
}

// scrapeManager returns the configuration for the manager, which authenticates Prometheus with the token of a ServiceAccount that
// is bound to the ClusterRole of the installation.
func (e *environment) scrapeManager(t *testing.T, dir string) map[string]any {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "prometheus"}}
	e.Create(t, account, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "apikey-manager-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
	})
	token := filepath.Join(dir, "token")
	controlplanetest.Must(t, os.WriteFile(token, []byte(controlplanetest.Token(t, e.admin, account.Namespace, account.Name)), 0o600))
	config := scrape("apikey-manager-metrics", e.manager)
	config["scheme"], config["honor_labels"] = "https", true
	config["tls_config"] = map[string]any{"insecure_skip_verify": true}
	config["authorization"] = map[string]any{"credentials_file": token}
	return config
}

// makeLoad creates keys in several states and a KeyExport of their digests, disables one, and has the verifier accept and refuse
// requests until the test ends.
func (e *environment) makeLoad(t *testing.T) {
	t.Helper()
	active := controlplanetest.NewKey("default", "active", "acme", func(s *v1alpha1.APIKeySpec) {
		s.Rotation = &v1alpha1.Rotation{Interval: "720h"}
	})
	expiring := controlplanetest.NewKey("default", "expiring", "acme", func(s *v1alpha1.APIKeySpec) {
		s.Expiration = time.Now().AddDate(0, 0, 2).UTC().Format(time.DateOnly)
		s.Notification = &v1alpha1.Notification{Emails: []string{"ops@example.com"}}
	})
	inactive := controlplanetest.NewKey("default", "inactive", "globex")
	e.Issue(t, active, expiring, inactive)
	e.Create(t, &v1alpha1.KeyExport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "gateway-keys"},
		Spec:       v1alpha1.KeyExportSpec{Target: v1alpha1.ExportTarget{Kind: v1alpha1.ExportToSecret, Name: "gateway-keys"}},
	})
	materials := []string{e.Material(t, active), e.Material(t, inactive), "ak_unknown"}
	controlplanetest.AwaitVerdict(t, e.verifier, materials[1], "VALID")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			_, _ = controlplanetest.Verdict(ctx, e.verifier, materials[i%len(materials)]) // a missing series fails the test
			time.Sleep(10 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	e.awaitSample(t, "the series exist before the key is disabled", `rate(apikey_manager_enforcement_seconds_count[10s])`)
	e.awaitSample(t, "the KeyExport holds the key before it is disabled", `apikey_manager_export_credentials == 3`)
	e.awaitSample(t, "the series exist before the key is withdrawn", `rate(apikey_manager_export_withdrawal_seconds_count[10s])`)
	e.Change(t, inactive, func(s *v1alpha1.APIKeySpec) { s.State = v1alpha1.KeyStateInactive })
	e.Become(t, v1alpha1.StateInactive, inactive)
}

// sample is a value of a series at the present.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

// query evaluates a query at the present.
func (e *environment) query(ctx context.Context, query string) ([]sample, error) {
	var data struct {
		Result []sample `json:"result"`
	}
	return data.Result, e.get(ctx, "query?query="+url.QueryEscape(query), &data)
}

// evaluated is a rule with the result of its last evaluation.
type evaluated struct {
	Name      string `json:"name"`
	Health    string `json:"health"`
	LastError string `json:"lastError"`
}

// rules returns the rules of all groups.
func (e *environment) rules(ctx context.Context) (list []evaluated, err error) {
	var data struct {
		Groups []struct {
			Rules []evaluated `json:"rules"`
		} `json:"groups"`
	}
	err = e.get(ctx, "rules", &data)
	for _, group := range data.Groups {
		list = append(list, group.Rules...)
	}
	return list, err
}

// get sends a GET request to the HTTP API of Prometheus, and decodes the data of its response.
func (e *environment) get(ctx context.Context, path string, data any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.address+"/api/v1/"+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body := struct {
		Error string `json:"error"`
		Data  any    `json:"data"`
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d, %s, %w", path, response.StatusCode, body.Error, err)
	}
	return nil
}

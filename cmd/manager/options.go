// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/controllers"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/mail"
	"github.com/apikey-manager/apikey-manager/internal/version"
)

// options holds the values of the flags.
type options struct {
	namespace      string
	namespaces     []string
	leaderElect    bool
	metricsAddress string
	metricsSecure  bool
	probeAddress   string
	concurrency    int

	configMapNamespaces []string

	maxKeys        int32
	deletionPolicy string
	requireAccount bool
	reserved       []string
	accountDelay   time.Duration

	webhooks       bool
	webhookPort    int
	webhookHosts   []string
	webhookService string
	webhookConfig  string
	webhookSecret  string

	webhookClientCAFile string
	webhookClientName   string

	mail               mail.Options
	allowedMailDomains []string
	mailDomains        keys.MailDomains
	maxMails           int32

	verifier          types.NamespacedName
	verifierService   string
	verifierPortName  string
	verifierCAFile    string
	verifierTokenFile string
	verifierCluster   string

	log zap.Options
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Run the control plane of apikey-manager",
		Long: "manager reconciles APIKeys and Accounts. It generates keys, stores them in Secrets, enforces the limits of accounts,\n" +
			"enables, disables, rotates, expires and revokes keys, and validates their deletion.",
		Version:       version.Get().String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		PreRunE:       func(*cobra.Command, []string) error { return o.validate() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.log)))
			config, err := ctrl.GetConfig() // reads --kubeconfig
			if err != nil {
				return fmt.Errorf("load the kubeconfig: %w", err)
			}
			return run(cmd.Context(), config, o)
		},
	}
	o.bind(cmd.Flags())
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.AddCommand(newSmokeTestCommand())
	return cmd
}

func (o *options) bind(f *pflag.FlagSet) {
	const defaultAccountDelay = 5 * time.Second
	f.StringVar(&o.namespace, "namespace", envOr("POD_NAMESPACE", "apikey-manager-system"),
		"`namespace` of the manager: of its lease, webhook Service and webhook certificate (env POD_NAMESPACE)")
	f.StringSliceVar(&o.namespaces, "watch-namespaces", nil,
		"comma-separated `namespaces` in which to issue keys; the manager needs access to Secrets only there. If unset, keys are issued in all "+
			"namespaces")
	f.StringSliceVar(&o.configMapNamespaces, "export-configmap-namespaces", nil,
		"comma-separated `namespaces` in which KeyExports may write ConfigMaps; the manager needs permission to read and write ConfigMaps "+
			"there, and nowhere else. If unset, KeyExports write Secrets only")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "elect a leader among several replicas; false requires a single replica")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "`address` of the metrics endpoint; 0 disables it")
	f.BoolVar(&o.metricsSecure, "metrics-secure", true,
		"serve metrics over TLS; clients are authenticated and authorized by the API server")
	f.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz; 0 disables it")
	f.IntVar(&o.concurrency, "max-concurrent-reconciles", 8, "maximum number of concurrent reconciles, for keys and for accounts each")

	f.Int32Var(&o.maxKeys, "default-max-keys", 5, "maximum number of keys of an account that does not set limits.maxKeys (0..1000)")
	f.StringVar(&o.deletionPolicy, "default-deletion-policy", string(v1alpha1.DeletionAllow),
		"deletion policy for keys of an account that does not set deletionPolicy: Allow, Forbid or RequireConfirmation")
	f.BoolVar(&o.requireAccount, "require-account", false, "reject keys whose Account does not exist instead of creating the Account")
	f.StringSliceVar(&o.reserved, "reserved-metadata-prefixes", []string{"argocd.argoproj.io"},
		"additional `domains` that labels, annotations and the type in a secret.template or in the target of a KeyExport must not use, "+
			"including their subdomains, because other tools act on them; the domains of Kubernetes and of this project are always reserved")

	f.DurationVar(&o.accountDelay, "account-creation-delay", defaultAccountDelay,
		"how long to wait before creating a missing Account of a key, because the same manifest may contain the Account; 0s creates it "+
			"immediately")

	o.bindWebhook(f)
	o.bindMail(f)
	o.bindVerifier(f)

	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.log.BindFlags(zapFlags)
	f.AddGoFlagSet(zapFlags)
	f.AddGoFlag(flag.CommandLine.Lookup("kubeconfig"))
}

// bindWebhook binds the flags for the admission webhook.
func (o *options) bindWebhook(f *pflag.FlagSet) {
	f.BoolVar(&o.webhooks, "webhooks", true, "serve the admission webhook; set to false to run outside a cluster")
	f.IntVar(&o.webhookPort, "webhook-port", 9443, "port of the admission webhook")
	f.StringSliceVar(&o.webhookHosts, "webhook-host", nil, "additional DNS name or IP address in the webhook certificate; repeatable")
	f.StringVar(&o.webhookService, "webhook-service", "apikey-manager-webhook", "`name` of the webhook Service")
	f.StringVar(&o.webhookConfig, "webhook-configuration", "apikey-manager",
		"`name` of the ValidatingWebhookConfiguration into which the CA certificate is injected")
	f.StringVar(&o.webhookSecret, "webhook-secret", "apikey-manager-webhook-tls",
		"`name` of the Secret that stores the webhook certificate")

	f.StringVar(&o.webhookClientCAFile, "webhook-client-ca-file", "",
		"`file` with the CA certificates for clients of the webhook, reloaded for each connection; if unset, no client certificate is "+
			"required. The API server sends a certificate if its --admission-control-config-file configures one")
	f.StringVar(&o.webhookClientName, "webhook-client-name", "",
		"common `name` or DNS name required in the client certificate; if unset, any name is accepted")
}

// bindMail binds the flags for mail.
func (o *options) bindMail(f *pflag.FlagSet) {
	f.StringVar(&o.mail.Host, "smtp-host", "", "host `name` of the mail server for mails about expiring keys; if unset, no mail is sent")
	f.IntVar(&o.mail.Port, "smtp-port", 0, "port of the mail server; 0 selects 587, 465 or 25 depending on --smtp-tls")
	f.StringVar(&o.mail.Username, "smtp-username", "", "user name for the mail server")
	f.StringVar(&o.mail.PasswordFile, "smtp-password-file", "",
		"`file` with the password for the mail server, reloaded for each connection")
	f.StringVar(&o.mail.From, "smtp-from", "", "`address` of the sender, such as API keys <api-keys@example.com>")
	f.StringVar((*string)(&o.mail.TLS), "smtp-tls", string(mail.TLSStart), "TLS mode of the connection: starttls, implicit or none")
	f.StringVar(&o.mail.CAFile, "smtp-ca-file", "", "`file` with the CA certificates for the mail server; defaults to those of the system")

	f.StringSliceVar(&o.allowedMailDomains, "smtp-allowed-domains", nil,
		"comma-separated `domains` to which mail may be sent: example.com, or *.example.com for its subdomains; if unset, any domain is "+
			"allowed")
	f.Int32Var(&o.maxMails, "smtp-max-per-account", 100,
		"maximum number of mails per day about the keys of one account, counting each recipient (1..1000000)")
}

// bindVerifier binds the flags for polling verifiers.
func (o *options) bindVerifier(f *pflag.FlagSet) {
	f.StringVar(&o.verifierService, "verifier-service", "",
		"`namespace/name` of the verifier Service, whose replicas report the usage of keys and which keys they refuse; if unset, no verifier "+
			"is polled. The usage is polled every minute, and up to every five minutes while no key is used or changed. In a namespace "+
			"other than --namespace, the manager needs permission to read EndpointSlices")
	f.StringVar(&o.verifierPortName, "verifier-port-name", "usage", "`name` of the port of --verifier-service for the manager")
	f.StringVar(&o.verifierCAFile, "verifier-ca-file", "",
		"`file` with the CA certificates for the verifier; if unset, any certificate is accepted, because verifiers generate their own by "+
			"default")
	f.StringVar(&o.verifierTokenFile, "verifier-token-file", "/var/run/secrets/apikey-manager.io/verifier/token",
		"`file` with the token of the manager for the audience apikey-verifier, reloaded for each request")
	f.StringVar(&o.verifierCluster, "verifier-cluster", "",
		"`name` that --kubeconfig of the verifier gives the cluster of this manager, if it follows several clusters")
}

func (o *options) validate() error {
	if o.maxKeys < 0 || o.maxKeys > 1000 {
		return fmt.Errorf("invalid --default-max-keys %d: must be from 0 to 1000", o.maxKeys)
	}
	if o.concurrency < 1 {
		return fmt.Errorf("invalid --max-concurrent-reconciles %d: must be at least 1", o.concurrency)
	}
	if err := o.validateNamespaces(); err != nil {
		return err
	}
	if err := o.validateReserved(); err != nil {
		return err
	}
	if o.webhookClientName != "" && o.webhookClientCAFile == "" {
		return errors.New("invalid --webhook-client-name: requires --webhook-client-ca-file")
	}
	if o.accountDelay < 0 {
		return fmt.Errorf("invalid --account-creation-delay %s: must not be negative", o.accountDelay)
	}
	if err := o.validateVerifier(); err != nil {
		return err
	}
	if err := o.validateMail(); err != nil {
		return err
	}
	switch v1alpha1.DeletionPolicy(o.deletionPolicy) {
	case v1alpha1.DeletionAllow, v1alpha1.DeletionForbid, v1alpha1.DeletionRequireConfirmation:
		return nil
	}
	return fmt.Errorf("invalid --default-deletion-policy %q: must be Allow, Forbid or RequireConfirmation", o.deletionPolicy)
}

// validateNamespaces rejects values that are not the name of a namespace, because no key would be issued or exported there.
func (o *options) validateNamespaces() error {
	for _, namespace := range o.namespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("invalid --watch-namespaces %q: must be the name of a namespace", namespace)
		}
	}
	for _, namespace := range o.configMapNamespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("invalid --export-configmap-namespaces %q: must be the name of a namespace", namespace)
		}
	}
	return nil
}

// validateReserved rejects values that can never be the prefix of a label, because they would reserve nothing.
func (o *options) validateReserved() error {
	for _, domain := range o.reserved {
		if problems := validation.IsDNS1123Subdomain(domain); len(problems) > 0 {
			return fmt.Errorf("invalid --reserved-metadata-prefixes %q: must be a domain such as argocd.argoproj.io", domain)
		}
	}
	return nil
}

// validateMail validates the flags for mail and parses --smtp-allowed-domains.
func (o *options) validateMail() (err error) {
	const most = 1_000_000
	if o.maxMails < 1 || o.maxMails > most {
		return fmt.Errorf("invalid --smtp-max-per-account %d: must be from 1 to %d; to send no mail, unset --smtp-host", o.maxMails, most)
	}
	o.mailDomains, err = parseMailDomains(o.allowedMailDomains)
	return err
}

// validateVerifier parses --verifier-service.
func (o *options) validateVerifier() error {
	if o.verifierService == "" {
		return nil
	}
	namespace, name, _ := strings.Cut(o.verifierService, "/")
	if namespace == "" || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("invalid --verifier-service %q: must be namespace/name, such as apikey-manager-system/apikey-verifier",
			o.verifierService)
	}
	if o.verifierPortName == "" {
		return errors.New("invalid --verifier-port-name: must not be empty")
	}
	o.verifier = types.NamespacedName{Namespace: namespace, Name: name}
	return nil
}

// verifiers returns the verifiers to poll, or nil if --verifier-service is not set.
func (o *options) verifiers(recorder controllers.VerifierRecorder) *controllers.Verifiers {
	if o.verifierService == "" {
		return nil
	}
	return &controllers.Verifiers{
		Service: o.verifier, Port: o.verifierPortName, Recorder: recorder,
		Client: controllers.NewUsageClient(controllers.UsageClientOptions{
			TokenFile: o.verifierTokenFile, CAFile: o.verifierCAFile, ServerName: o.verifier.Name + "." + o.verifier.Namespace + ".svc",
			Cluster: o.verifierCluster,
		}),
	}
}

func (o *options) settings() keys.Settings {
	return keys.Settings{
		MaxKeys: o.maxKeys, DeletionPolicy: v1alpha1.DeletionPolicy(o.deletionPolicy), RequireAccount: o.requireAccount,
		Namespaces:           o.namespaces,
		Verifiers:            o.verifierService != "",
		ReservedDomains:      o.reserved,
		AccountCreationDelay: o.accountDelay,
		MailDomains:          o.mailDomains, MaxMails: o.maxMails,
	}
}

// mailer returns the Mailer, or nil if --smtp-host is not set.
func (o *options) mailer() (controllers.Mailer, error) {
	if o.mail.Host == "" {
		return nil, nil //nolint:nilnil // nil means that mail is disabled
	}
	const timeout = 30 * time.Second
	o.mail.Timeout = timeout
	sender, err := mail.New(o.mail)
	if err != nil {
		return nil, fmt.Errorf("invalid --smtp flags: %w", err)
	}
	return mailer{sender: sender}, nil
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

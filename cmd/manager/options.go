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
)

// options are the flags.
type options struct {
	namespace      string
	leaderElect    bool
	metricsAddress string
	metricsSecure  bool
	probeAddress   string
	concurrency    int

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

	log zap.Options
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Run the control plane of apikey-manager",
		Long: "manager watches APIKeys and Accounts. It generates keys, writes them into Secrets, holds accounts to their limit,\n" +
			"switches keys on and off, expires and revokes them, and guards their deletion.",
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
	const defaultAccountDelay = 5 * time.Second
	f.StringVar(&o.namespace, "namespace", envOr("POD_NAMESPACE", "apikey-manager-system"), "`namespace` the manager runs in: of its lease, its webhook Service and certificate (env POD_NAMESPACE)")
	f.BoolVar(&o.leaderElect, "leader-elect", true, "let one of several replicas lead; false is for a single one")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "`address` of the metrics endpoint; 0 turns it off")
	f.BoolVar(&o.metricsSecure, "metrics-secure", true, "serve metrics over TLS, to callers the API server authenticates and authorizes")
	f.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz; 0 turns it off")
	f.IntVar(&o.concurrency, "max-concurrent-reconciles", 8, "how many keys, and how many accounts, are worked on at once")

	f.Int32Var(&o.maxKeys, "default-max-keys", 5, "how many keys an account may have that sets no limits.maxKeys (0..1000)")
	f.StringVar(&o.deletionPolicy, "default-deletion-policy", string(v1alpha1.DeletionAllow), "whether keys may be deleted where the account sets no deletionPolicy: Allow, Forbid or RequireConfirmation")
	f.BoolVar(&o.requireAccount, "require-account", false, "refuse keys whose Account does not exist instead of creating it")
	f.StringSliceVar(&o.reserved, "reserved-metadata-prefixes", []string{"argocd.argoproj.io"}, "further `domains`, with all below them, that labels, annotations and type of a secret.template must not use, since tools act upon them; those of Kubernetes and of this project are always reserved")

	f.DurationVar(&o.accountDelay, "account-creation-delay", defaultAccountDelay, "how long a key that names no existing Account waits before the manager creates it, since the Account may be the next object of the same file; 0s creates it at once")
	f.BoolVar(&o.webhooks, "webhooks", true, "serve the admission webhook; false is for running outside a cluster")
	f.IntVar(&o.webhookPort, "webhook-port", 9443, "port of the admission webhook")
	f.StringSliceVar(&o.webhookHosts, "webhook-host", nil, "further DNS name or IP address of the webhook's certificate; repeatable")
	f.StringVar(&o.webhookService, "webhook-service", "apikey-manager-webhook", "`name` of the webhook's Service")
	f.StringVar(&o.webhookConfig, "webhook-configuration", "apikey-manager", "`name` of the ValidatingWebhookConfiguration that gets the certificate's authority")
	f.StringVar(&o.webhookSecret, "webhook-secret", "apikey-manager-webhook-tls", "`name` of the Secret that keeps the webhook's certificate")

	f.StringVar(&o.webhookClientCAFile, "webhook-client-ca-file", "", "`file` with the certificates that must vouch for the webhook's client, read again for each connection; without it any client may ask. The API server shows a certificate if its --admission-control-config-file says so")
	f.StringVar(&o.webhookClientName, "webhook-client-name", "", "common or DNS `name` that the certificate of the webhook's client must be for; without it any name will do")

	f.StringVar(&o.mail.Host, "smtp-host", "", "`name` of the mail server that takes mails before keys expire; without it none are sent")
	f.IntVar(&o.mail.Port, "smtp-port", 0, "port of the mail server: 587, 465 or 25 unless said, by --smtp-tls")
	f.StringVar(&o.mail.Username, "smtp-username", "", "user name at the mail server")
	f.StringVar(&o.mail.PasswordFile, "smtp-password-file", "", "`file` with the password at the mail server; read again for each connection")
	f.StringVar(&o.mail.From, "smtp-from", "", "sender's `address`, such as API keys <api-keys@example.com>")
	f.StringVar((*string)(&o.mail.TLS), "smtp-tls", string(mail.TLSStart), "how the connection is protected: starttls, implicit or none")
	f.StringVar(&o.mail.CAFile, "smtp-ca-file", "", "`file` with the certificates that may vouch for the mail server; the system's unless said")

	f.StringSliceVar(&o.allowedMailDomains, "smtp-allowed-domains", nil, "the only `domains` to which mail may go, separated by commas: example.com, or *.example.com for any domain below it; without it mail may go anywhere")
	f.Int32Var(&o.maxMails, "smtp-max-per-account", 100, "how many mails may go out on a day about the keys of one account, one for each recipient (1..1000000)")

	f.StringVar(&o.verifierService, "verifier-service", "", "`namespace/name` of the verifier's Service, whose replicas tell how keys are used and which they refuse; without it none are asked. In another namespace than --namespace, let the manager read its EndpointSlices")
	f.StringVar(&o.verifierPortName, "verifier-port-name", "usage", "`name` of the port of --verifier-service that answers the manager")
	f.StringVar(&o.verifierCAFile, "verifier-ca-file", "", "`file` with the certificates that may vouch for the verifier; without it any certificate will do, since verifiers make their own")
	f.StringVar(&o.verifierTokenFile, "verifier-token-file", "/var/run/secrets/apikey-manager.io/verifier/token", "`file` with the manager's token for the audience apikey-verifier; read again for each question")

	zapFlags := flag.NewFlagSet("zap", flag.ContinueOnError)
	o.log.BindFlags(zapFlags)
	f.AddGoFlagSet(zapFlags)
	f.AddGoFlag(flag.CommandLine.Lookup("kubeconfig"))
}

func (o *options) validate() error {
	if o.maxKeys < 0 || o.maxKeys > 1000 {
		return fmt.Errorf("--default-max-keys is %d: give a number from 0 to 1000", o.maxKeys)
	}
	if o.concurrency < 1 {
		return fmt.Errorf("--max-concurrent-reconciles is %d: give at least 1", o.concurrency)
	}
	if err := o.validateReserved(); err != nil {
		return err
	}
	if o.webhookClientName != "" && o.webhookClientCAFile == "" {
		return errors.New("--webhook-client-name: give --webhook-client-ca-file as well, or leave it out")
	}
	if o.accountDelay < 0 {
		return fmt.Errorf("--account-creation-delay is %s: give 0s or longer, such as 5s", o.accountDelay)
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
	return fmt.Errorf("--default-deletion-policy is %q: give Allow, Forbid or RequireConfirmation", o.deletionPolicy)
}

// validateReserved refuses what could never be the prefix of a label, and would reserve nothing.
func (o *options) validateReserved() error {
	for _, domain := range o.reserved {
		if problems := validation.IsDNS1123Subdomain(domain); len(problems) > 0 {
			return fmt.Errorf("--reserved-metadata-prefixes has %q: give domains, such as argocd.argoproj.io", domain)
		}
	}
	return nil
}

// validateMail reads --smtp-allowed-domains.
func (o *options) validateMail() (err error) {
	const most = 1_000_000
	if o.maxMails < 1 || o.maxMails > most {
		return fmt.Errorf("--smtp-max-per-account is %d: give a number from 1 to %d; to send no mail at all leave out --smtp-host", o.maxMails, most)
	}
	o.mailDomains, err = parseMailDomains(o.allowedMailDomains)
	return err
}

// validateVerifier takes --verifier-service apart.
func (o *options) validateVerifier() error {
	if o.verifierService == "" {
		return nil
	}
	namespace, name, _ := strings.Cut(o.verifierService, "/")
	if namespace == "" || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("--verifier-service is %q: give namespace/name, such as apikey-manager-system/apikey-verifier", o.verifierService)
	}
	if o.verifierPortName == "" {
		return errors.New("--verifier-port-name is empty: name the port of --verifier-service that answers the manager")
	}
	o.verifier = types.NamespacedName{Namespace: namespace, Name: name}
	return nil
}

// verifiers are whom to ask how keys are used; nil if no verifier is named.
func (o *options) verifiers(recorder controllers.VerifierRecorder) *controllers.Verifiers {
	if o.verifierService == "" {
		return nil
	}
	return &controllers.Verifiers{
		Service: o.verifier, Port: o.verifierPortName, Recorder: recorder,
		Client: controllers.NewUsageClient(controllers.UsageClientOptions{
			TokenFile: o.verifierTokenFile, CAFile: o.verifierCAFile, ServerName: o.verifier.Name + "." + o.verifier.Namespace + ".svc",
		}),
	}
}

func (o *options) settings() keys.Settings {
	return keys.Settings{
		MaxKeys: o.maxKeys, DeletionPolicy: v1alpha1.DeletionPolicy(o.deletionPolicy), RequireAccount: o.requireAccount,
		Verifiers:            o.verifierService != "",
		ReservedDomains:      o.reserved,
		AccountCreationDelay: o.accountDelay,
		MailDomains:          o.mailDomains, MaxMails: o.maxMails,
	}
}

// mailer returns what sends mail; nil if there is no mail server.
func (o *options) mailer() (controllers.Mailer, error) {
	if o.mail.Host == "" {
		return nil, nil //nolint:nilnil // nil is the mail server that was not given
	}
	const timeout = 30 * time.Second
	o.mail.Timeout = timeout
	sender, err := mail.New(o.mail)
	if err != nil {
		return nil, fmt.Errorf("--smtp-...: %w", err)
	}
	return mailer{sender: sender}, nil
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

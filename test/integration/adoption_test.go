// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"context"
	"net/netip"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
	"github.com/apikey-manager/apikey-manager/controllers"
	"github.com/apikey-manager/apikey-manager/internal/keys"
	"github.com/apikey-manager/apikey-manager/internal/keys/keystest"
	verdicts "github.com/apikey-manager/apikey-manager/internal/verifier"
)

const zeroUUID = "00000000-0000-4000-8000-000000000000"

// startVerifier returns the index of a verifier that is synced with the API server.
func startVerifier(ctx context.Context) *verdicts.Index {
	GinkgoHelper()
	scheme, err := controllers.NewScheme()
	Expect(err).NotTo(HaveOccurred())
	source, err := client.NewWithWatch(plane.Config(), client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	index := verdicts.NewIndex()
	runCtx, stop := context.WithCancel(context.Background())
	DeferCleanup(stop)
	go verdicts.NewSyncer(verdicts.SyncerOptions{Source: source, Clock: clock.RealClock{}, Index: index}).Run(runCtx)
	Eventually(index.Complete).WithContext(ctx).Should(BeTrue())
	return index
}

// verdictOf returns the verdict on a key and the name of its APIKey, such as "VALID shop-1/a".
func verdictOf(index *verdicts.Index, material string) string {
	in := verdicts.Input{Key: material, ExtractResult: verdicts.Valid, Client: netip.MustParseAddr("192.0.2.1")}
	v := index.Check(&in, time.Now())
	if id := v.Key(); id != nil {
		return v.Code.String() + " " + id.Namespace + "/" + id.Name
	}
	return v.Code.String()
}

// secretContents are the default content of a Secret and one from a template: the change of the spec, and the entry that holds the key.
var secretContents = map[string]struct {
	entry string
	spec  func(*v1alpha1.APIKeySpec)
}{
	"the default content": {keys.EntryCurrent, func(*v1alpha1.APIKeySpec) {}},
	"a template": {"token", func(k *v1alpha1.APIKeySpec) {
		k.Secret = &v1alpha1.SecretSpec{Template: &v1alpha1.SecretTemplate{Data: map[string]string{"token": "{{ .Key }}"}}}
	}},
}

func allowImport(a *v1alpha1.AccountSpec) { a.ImportPolicy = v1alpha1.ImportAllow }

// userSecret returns a Secret that a user wrote, with the name of a key and, if given, an owner.
func userSecret(k *v1alpha1.APIKey, owner *v1alpha1.APIKey, annotations map[string]string, entry, value string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name, Annotations: annotations}, Data: map[string][]byte{entry: []byte(value)}}
	if owner != nil {
		s.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, v1alpha1.GroupVersion.WithKind("APIKey"))}
	}
	return s
}

func adoptAnnotation(k *v1alpha1.APIKey) map[string]string {
	return map[string]string{v1alpha1.AdoptAnnotation: k.Name}
}

var _ = Describe("Only the manager issues credentials", func() {
	var (
		namespace, other string
		account          *v1alpha1.Account
		index            *verdicts.Index
	)
	BeforeEach(func(ctx SpecContext) {
		namespace, other = newNamespace(ctx, nil), newNamespace(ctx, nil)
		startManager(ctx, managerOptions{})
		index = startVerifier(ctx)
		account = newAccount(uniqueName("bobs"), limits(0, queue))
		create(ctx, account)
	})
	admit := func(ctx SpecContext) {
		GinkgoHelper()
		read(ctx, account)
		changeAccount(ctx, account, limits(100))
	}
	valueOf := func(ctx SpecContext, k *v1alpha1.APIKey, entry string) string {
		GinkgoHelper()
		return string(secretOf(ctx, k).Data[entry])
	}

	for name, shape := range secretContents {
		It("which replaces the credential of a Secret with a forged owner, with "+name, func(ctx SpecContext) {
			formats := map[string]*v1alpha1.Format{zeroUUID: {Type: v1alpha1.FormatUUID}}
			wellFormed, err := keys.EffectiveFormat(&v1alpha1.APIKey{}, nil).Generate(zeroes{})
			Expect(err).NotTo(HaveOccurred())
			formats[string([]byte(wellFormed.Material))] = nil
			for value, format := range formats {
				k := newKey(namespace, uniqueName("key"), account.Name, shape.spec, func(k *v1alpha1.APIKeySpec) { k.Format = format })
				create(ctx, k)
				becomeNotAccepted(ctx, v1alpha1.ReasonLimitReached, k)
				create(ctx, userSecret(k, k, adoptAnnotation(k), shape.entry, value))
				admit(ctx)
				become(ctx, v1alpha1.StateActive, k)
				Expect(valueOf(ctx, k, shape.entry) != value).To(BeTrue(), "bob's key was adopted")
				Eventually(func() string { return verdictOf(index, valueOf(ctx, k, shape.entry)) }).WithContext(ctx).Should(Equal("VALID " + namespace + "/" + k.Name))
				Expect(verdictOf(index, value)).To(Equal("UNKNOWN"))
				read(ctx, account)
				changeAccount(ctx, account, limits(0, queue))
			}
		})

		It("so that a leaked key does not become valid under another account, with "+name, func(ctx SpecContext) {
			hers := newAccount(uniqueName("alices"), limits(100))
			create(ctx, hers)
			for how, kill := range map[string]func(*v1alpha1.APIKeySpec){
				"revoked": state(v1alpha1.KeyStateRevoked),
				"killed": func(k *v1alpha1.APIKeySpec) {
					k.Rotation = &v1alpha1.Rotation{RevokeBefore: keystest.Instant(time.Now())}
				},
			} {
				By(how)
				alice := newKey(other, uniqueName("alice"), hers.Name)
				create(ctx, alice)
				become(ctx, v1alpha1.StateActive, alice)
				leaked := materialOf(ctx, alice)
				pause(ctx, time.Second+100*time.Millisecond) // instants are whole seconds: what follows is later
				early, forged := newKey(namespace, uniqueName("early"), account.Name, shape.spec), newKey(namespace, uniqueName("forged"), account.Name, shape.spec)
				create(ctx, early, forged)
				becomeNotAccepted(ctx, v1alpha1.ReasonLimitReached, early, forged)
				create(ctx, userSecret(early, nil, adoptAnnotation(early), shape.entry, leaked), userSecret(forged, forged, nil, shape.entry, leaked))
				read(ctx, account)
				changeAccount(ctx, account, limits(100), allowImport)
				becomeNotAccepted(ctx, v1alpha1.ReasonDuplicateKey, early)
				Expect(message(early.Status.Conditions, v1alpha1.ConditionStalled)).NotTo(ContainSubstring(alice.Name))
				Eventually(func() string { return verdictOf(index, leaked) }).WithContext(ctx).Should(Equal("VALID " + other + "/" + alice.Name))
				become(ctx, v1alpha1.StateActive, forged)
				Expect(valueOf(ctx, forged, shape.entry) != leaked).To(BeTrue(), "a leaked key was adopted")

				change(ctx, alice, kill)
				Eventually(func() string { return verdictOf(index, leaked) }).WithContext(ctx).Should(Equal("REVOKED " + other + "/" + alice.Name))
				awaitStatus(ctx, alice, func(g Gomega) { g.Expect(ready(alice)).To(HavePrefix("True/")) })
				again := newKey(namespace, uniqueName("again"), account.Name, shape.spec)
				create(ctx, userSecret(again, nil, adoptAnnotation(again), shape.entry, leaked))
				create(ctx, again)
				becomeNotAccepted(ctx, v1alpha1.ReasonDuplicateKey, again, early)
				Consistently(func() string { return verdictOf(index, leaked) }).WithContext(ctx).Should(Equal("REVOKED " + other + "/" + alice.Name))
				Expect(again.Status.Credentials).To(BeEmpty())
				Expect(early.Status.Credentials).To(BeEmpty())
				read(ctx, account)
				changeAccount(ctx, account, limits(0, queue), func(a *v1alpha1.AccountSpec) { a.ImportPolicy = v1alpha1.ImportForbid })
			}
		})

		It("unless the account allows a key to adopt an annotated Secret, with "+name, func(ctx SpecContext) {
			issued, err := keys.EffectiveFormat(&v1alpha1.APIKey{}, nil).Generate(&seeded{})
			Expect(err).NotTo(HaveOccurred())
			value := string([]byte(issued.Material))
			k := newKey(namespace, uniqueName("key"), account.Name, shape.spec)
			create(ctx, userSecret(k, nil, adoptAnnotation(k), shape.entry, value))
			create(ctx, k)
			admit(ctx)
			awaitStatus(ctx, k, func(g Gomega) { g.Expect(ready(k)).To(Equal("False/" + v1alpha1.ReasonSecretConflict)) })
			Expect(verdictOf(index, value)).To(Equal("UNKNOWN"))
			read(ctx, account)
			changeAccount(ctx, account, allowImport)
			become(ctx, v1alpha1.StateActive, k)
			Expect(valueOf(ctx, k, shape.entry) == value).To(BeTrue(), "the key in the Secret changed")
			Expect(metav1.IsControlledBy(secretOf(ctx, k), k)).To(BeTrue())
			Expect(k.Status.History[len(k.Status.History)-1].Reason).To(Equal(v1alpha1.ReasonAdopted))
			Eventually(func() string { return verdictOf(index, value) }).WithContext(ctx).Should(Equal("VALID " + namespace + "/" + k.Name))

			By("rejecting a weak key, with a message")
			weak := newKey(namespace, uniqueName("weak"), account.Name, shape.spec)
			create(ctx, userSecret(weak, nil, adoptAnnotation(weak), shape.entry, zeroUUID))
			create(ctx, weak)
			awaitStatus(ctx, weak, func(g Gomega) {
				g.Expect(verdict(weak.Status.Conditions, v1alpha1.ConditionStalled)).To(Equal("True/" + v1alpha1.ReasonSecretNotAdoptable))
			})
			Expect(message(weak.Status.Conditions, v1alpha1.ConditionStalled)).To(ContainSubstring("its entry " + shape.entry + " is not random"))
			Expect(verdictOf(index, zeroUUID)).To(Equal("UNKNOWN"))
		})
	}
})

// zeroes is a reader of zero bytes in place of random ones.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// seeded is a reader of pseudo-random bytes.
type seeded struct{ n uint64 }

func (s *seeded) Read(p []byte) (int, error) {
	for i := range p {
		s.n = s.n*6364136223846793005 + 1442695040888963407
		p[i] = byte(s.n >> 56)
	}
	return len(p), nil
}

// conflictingClient is another controller that changes the Secret of a key.
type conflictingClient struct {
	// writes is the number of writes that changed the Secret, and last is the version after the last one.
	writes int
	last   string
}

// revertWrites reverts the writes of the manager until a point in time.
func (f *conflictingClient) revertWrites(ctx context.Context, secret *corev1.Secret, until time.Time, undo func(*corev1.Secret)) {
	GinkgoHelper()
	for time.Now().Before(until) && ctx.Err() == nil {
		err := admin.Get(ctx, client.ObjectKeyFromObject(secret), secret)
		if err == nil && secret.ResourceVersion != f.last {
			before := secret.ResourceVersion
			undo(secret)
			err = admin.Update(ctx, secret, client.FieldOwner("argocd-controller"))
			if err == nil && secret.ResourceVersion != before {
				f.writes, f.last = f.writes+1, secret.ResourceVersion
			}
		}
		pause(ctx, 2*time.Millisecond)
	}
}

var _ = Describe("Repairs back off", func() {
	for name, undo := range map[string]func(*corev1.Secret){
		"an extra entry":     func(s *corev1.Secret) { s.Data["extra"] = []byte("mine") },
		"another credential": func(s *corev1.Secret) { s.Data[keys.EntryCurrent] = []byte("theirs") },
	} {
		It("from a controller that writes "+name, func(ctx SpecContext) {
			startManager(ctx, managerOptions{})
			namespace := newNamespace(ctx, nil)
			k := newKey(namespace, uniqueName("key"), uniqueName("acme"))
			create(ctx, k)
			become(ctx, v1alpha1.StateActive, k)
			secret, began := secretOf(ctx, k), time.Now()
			revisions := func() int {
				recorder.catchUp(ctx)
				return len(recorder.versionsOf(kindSecret, secret.UID)) - 1 // but for the first issue
			}
			f := &conflictingClient{}
			f.revertWrites(ctx, secret, began.Add(5*time.Second), undo)
			five, theirs := revisions(), f.writes
			Expect(five-theirs).To(BeNumerically("<=", 3), "writes of the manager")
			awaitStatus(ctx, k, func(g Gomega) { g.Expect(ready(k)).To(Equal("False/" + v1alpha1.ReasonSecretContested)) })
			Expect(message(k.Status.Conditions, v1alpha1.ConditionStalled)).To(ContainSubstring("argocd-controller"))
			version := k.ResourceVersion
			f.revertWrites(ctx, secret, began.Add(15*time.Second), undo)
			read(ctx, k)
			Expect(k.ResourceVersion).To(Equal(version), "the status was written while backing off")
			fifteen := revisions()
			GinkgoLogr.Info("Revisions of a contested Secret", "in 5 s", five, "in 15 s", fifteen, "by the other client", f.writes)
			Expect(fifteen-f.writes).To(BeNumerically("<=", 3), "writes of the manager")

			By("changing the spec after the other client has stopped")
			change(ctx, k, label("mended"))
			become(ctx, v1alpha1.StateActive, k)
			Expect(verdict(k.Status.Conditions, v1alpha1.ConditionStalled)).To(BeEmpty())
			expectSecretMatchesStatus(ctx, Default, k)
		}, SpecTimeout(3*time.Minute))
	}

	It("from a client that deletes the Secret repeatedly", func(ctx SpecContext) {
		startManager(ctx, managerOptions{})
		namespace := newNamespace(ctx, nil)
		k := newKey(namespace, uniqueName("key"), uniqueName("acme"))
		create(ctx, k)
		become(ctx, v1alpha1.StateActive, k)
		secret, deletions := secretOf(ctx, k), 0
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); pause(ctx, 2*time.Millisecond) {
			if admin.Delete(ctx, secret.DeepCopy()) == nil {
				deletions++
			}
		}
		Expect(deletions).To(BeNumerically("<=", 4), "the first, and three that were written again")
		awaitStatus(ctx, k, func(g Gomega) { g.Expect(ready(k)).To(Equal("False/" + v1alpha1.ReasonSecretContested)) })
		Expect(message(k.Status.Conditions, v1alpha1.ConditionStalled)).To(ContainSubstring("keeps deleting"))
	})
})

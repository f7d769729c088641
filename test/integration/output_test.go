// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"

	"github.com/apikey-manager/apikey-manager/internal/keys"
)

// levelEverything is a log level below all levels in use.
const levelEverything = zapcore.Level(-5)

// outputLog records output by source.
type outputLog struct {
	mu    sync.Mutex
	texts map[string]*bytes.Buffer
}

func (w *outputLog) record(source string, text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.texts == nil {
		w.texts = map[string]*bytes.Buffer{}
	}
	if w.texts[source] == nil {
		w.texts[source] = &bytes.Buffer{}
	}
	w.texts[source].Write(text)
	w.texts[source].WriteByte('\n')
}

// save writes the recorded output to a folder, one file for each source.
func (w *outputLog) save(dir string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	problems := []error{os.MkdirAll(dir, 0o700)}
	for source, text := range w.texts {
		problems = append(problems, os.WriteFile(filepath.Join(dir, strings.ReplaceAll(source, " ", "-")), text.Bytes(), 0o600))
	}
	return errors.Join(problems...)
}

func (w *outputLog) writer(source string) io.Writer { return outputWriter{w, source} }

type outputWriter struct {
	*outputLog
	source string
}

func (w outputWriter) Write(p []byte) (int, error) {
	w.record(w.source, p)
	return len(p), nil
}

// searcher finds keys in text: whole keys, their secret part alone, and their base64 encoding, also after other characters.
type searcher struct {
	secrets map[string]bool // what follows prefix_id_, without the checksum
	encoded map[string]bool // characters of the base64 of a key, wherever it begins
}

const (
	secretLength  = 43
	encodedLength = 56
)

func newSearcher() *searcher {
	return &searcher{secrets: map[string]bool{}, encoded: map[string]bool{}}
}

func (s *searcher) add(key []byte) {
	parts := strings.Split(string(key), "_")
	if len(parts) != 3 || len(parts[2]) < secretLength {
		return // a value that a test wrote
	}
	s.secrets[parts[2][:secretLength]] = true
	s.encoded[base64.StdEncoding.EncodeToString(key)[:encodedLength]] = true
	for shift := range 3 { // base64 of the key after other characters, such as a user name
		encoded := base64.StdEncoding.EncodeToString(append(bytes.Repeat([]byte{'x'}, shift), key...))
		s.encoded[encoded[4:4+encodedLength]] = true
	}
}

// find returns the first key in a text with its surroundings, or an empty string.
func (s *searcher) find(text []byte) string {
	for start := 0; start < len(text); {
		end := start
		for end < len(text) && isWord(text[end]) {
			end++
		}
		if found := s.findInWord(text[start:end]); found >= 0 {
			at := start + found
			return string(text[max(0, at-200):min(len(text), at+100)])
		}
		start = end + 1
	}
	return ""
}

func (s *searcher) findInWord(word []byte) int {
	for i := 0; i+secretLength <= len(word); i++ {
		if s.secrets[string(word[i:i+secretLength])] {
			return i
		}
		if i+encodedLength <= len(word) && s.encoded[string(word[i:i+encodedLength])] {
			return i
		}
	}
	return -1
}

func isWord(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b == '+' || b == '/'
}

// expectNoLeak searches the recorded output and objects for every key that was in a Secret.
func expectNoLeak(h *writeRecorder, w *outputLog) {
	GinkgoHelper()
	s := newSearcher()
	for _, e := range h.all() {
		if secret, ok := e.object.(*corev1.Secret); ok {
			s.add(secret.Data[keys.EntryCurrent])
			s.add(secret.Data[keys.EntryPrevious])
			continue
		}
		text, err := json.Marshal(e.object)
		Expect(err).NotTo(HaveOccurred())
		w.record(e.kind+" objects", text)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	searched := 0
	for _, source := range slices.Sorted(maps.Keys(w.texts)) {
		text := w.texts[source].Bytes()
		searched += len(text)
		if found := s.find(text); found != "" {
			Fail(fmt.Sprintf("a key is in %s: ...%s...", source, found))
		}
	}
	GinkgoWriter.Printf("searched %d bytes of %d sources for %d keys\n", searched, len(w.texts), len(s.secrets))
	expectSearchWorks(s)
}

// expectSearchWorks checks that the search finds keys if there are any.
func expectSearchWorks(s *searcher) {
	GinkgoHelper()
	for secret := range s.secrets {
		Expect(s.find([]byte(`{"msg":"issued ak_000000000000_` + secret + `123456"}`))).NotTo(BeEmpty())
		Expect(s.find([]byte("key=" + secret))).NotTo(BeEmpty())
		break
	}
	for encoded := range s.encoded {
		Expect(s.find([]byte(`{"data":{"api-key":"` + encoded + `=="}}`))).NotTo(BeEmpty())
		break
	}
}

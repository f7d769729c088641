// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/apikey-manager/apikey-manager/api/v1alpha1"
)

// seedAbove is the number of keys at once above which they are written to etcd, not to the API server, which takes 3 ms for each. What
// is stored is the same but for the fields that this file sets.
const seedAbove = 20_000

// prefix of the objects of this project in etcd.
const prefix = "/registry/apikey-manager.io/"

// etcd writes objects to etcd, over its HTTP API. Keys and values are encoded in base64 there, as encoding/json encodes bytes.
type etcd struct {
	url    string
	client *http.Client
	// key and account are objects as the API server stored them.
	key     v1alpha1.APIKey
	account v1alpha1.Account
}

// put is a write of an object.
type put struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// newEtcd returns an etcd that writes copies of key and account number 0.
func newEtcd(ctx context.Context, url string) (*etcd, error) {
	e := &etcd{url: url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: writers}}}
	return e, errors.Join(e.read(ctx, keyPath(0), &e.key), e.read(ctx, accountPath(0), &e.account))
}

func keyPath(i int) string     { return prefix + "apikeys/" + namespace + "/" + name(i) }
func accountPath(i int) string { return prefix + "accounts/" + accountName(i) }

// read decodes an object.
func (e *etcd) read(ctx context.Context, path string, into any) error {
	var response struct {
		Pairs []put `json:"kvs"`
	}
	if err := e.call(ctx, "range", map[string][]byte{"key": []byte(path)}, &response); err != nil {
		return err
	}
	if len(response.Pairs) != 1 {
		return fmt.Errorf("etcd does not have %s", path)
	}
	return json.Unmarshal(response.Pairs[0].Value, into)
}

// seed writes the keys whose numbers are at least from and less than to, and their accounts. Each write is a transaction of its own,
// because the API server assumes that a revision of etcd belongs to one object.
func (e *etcd) seed(ctx context.Context, from, to int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for i := from; i < to && ctx.Err() == nil; i++ {
		group.Go(func() error {
			puts, err := e.puts(i)
			for _, p := range puts {
				err = errors.Join(err, e.call(ctx, "put", p, nil))
			}
			return err
		})
	}
	return group.Wait()
}

// puts returns the writes of a key, and of its account if it is the first of it.
func (e *etcd) puts(i int) ([]put, error) {
	key := e.key
	key.Name, key.UID = name(i), uuid.NewUUID()
	key.Spec, key.Status = specOf(i), statusOf(i)
	value, err := json.Marshal(&key)
	list := []put{{Key: []byte(keyPath(i)), Value: value}}
	if err != nil || i%perAccount != 0 {
		return list, err
	}
	account := e.account
	account.Name, account.UID = accountName(i), uuid.NewUUID()
	value, err = json.Marshal(&account)
	return append(list, put{Key: []byte(accountPath(i)), Value: value}), err
}

// call sends a request to etcd.
func (e *etcd) call(ctx context.Context, method string, body, into any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"/v3/kv/"+method, bytes.NewReader(content))
	if err != nil {
		return err
	}
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("etcd answers %s to %s: %.300s", response.Status, method, answer)
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer, into)
}

// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package gitops_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/apikey-manager/apikey-manager/test/controlplane"
	"github.com/apikey-manager/apikey-manager/test/controlplane/controlplanetest"
)

// healthChecks holds the scripts of config/samples/gitops/argocd/argocd-cm.yaml by key of the ConfigMap.
type healthChecks map[string]string

func newHealthChecks(t *testing.T, root string) healthChecks {
	t.Helper()
	data, err := os.ReadFile(sampleFile(root, "argocd", "argocd-cm.yaml"))
	controlplanetest.Must(t, err)
	var configuration corev1.ConfigMap
	controlplanetest.Must(t, yaml.UnmarshalStrict(data, &configuration))
	return configuration.Data
}

// argoHealth is the result of a health check.
type argoHealth struct{ Status, Message string }

// evaluate returns the health of an object by the script for its kind, run as Argo CD runs it.
func (h healthChecks) evaluate(t *testing.T, object *unstructured.Unstructured) argoHealth {
	t.Helper()
	gvk := object.GroupVersionKind()
	script, ok := h["resource.customizations.health."+gvk.Group+"_"+gvk.Kind]
	if !ok {
		t.Fatalf("argocd-cm.yaml has no health check for %s", gvk.GroupKind())
	}
	return runHealthCheck(t, script, object.Object)
}

// runHealthCheck runs a script for a second at most, with the libraries that Argo CD opens for scripts of users: base, package and
// table, but neither string, io nor os. (Argo CD also has three functions of os, which the scripts do not use.)
func runHealthCheck(t *testing.T, script string, object map[string]any) argoHealth {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		controlplanetest.Must(t, state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("obj", luaValue(state, object))
	controlplanetest.Must(t, state.DoString(script))
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns a %s, not a table", state.Get(-1).Type())
	}
	return argoHealth{Status: lua.LVAsString(table.RawGetString("status")), Message: lua.LVAsString(table.RawGetString("message"))}
}

// luaValue converts the content of an object as the API server returns it.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(luaValue(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	}
	return lua.LNil
}

func TestHealthChecks_AreTheSameForAllKinds(t *testing.T) {
	t.Parallel()
	root, err := controlplane.Root()
	controlplanetest.Must(t, err)
	checks := newHealthChecks(t, root)
	key := checks["resource.customizations.health.apikey-manager.io_APIKey"]
	for _, kind := range []string{"Account", "KeyExport"} {
		if other := checks["resource.customizations.health.apikey-manager.io_"+kind]; key == "" || key != other {
			t.Errorf("the scripts for APIKeys and %ss differ", kind)
		}
	}
}

func TestHealthChecks_Messages(t *testing.T) {
	t.Parallel()
	root, err := controlplane.Root()
	controlplanetest.Must(t, err)
	checks := newHealthChecks(t, root)
	for name, tc := range map[string]struct {
		kind, object string
		want         argoHealth
	}{
		"no status": {
			"apikey-manager.io_APIKey", `{"metadata":{"generation":1}}`,
			argoHealth{"Progressing", "Waiting for apikey-manager to reconcile the object"},
		},
		"no conditions": {
			"apikey-manager.io_APIKey", `{"metadata":{"generation":1},"status":{"observedGeneration":1}}`,
			argoHealth{"Progressing", "Waiting for apikey-manager to reconcile the object"},
		},
		"the conditions of an earlier generation": {
			"apikey-manager.io_APIKey", `{"metadata":{"generation":2},"status":{"observedGeneration":1,"conditions":[{"type":"Stalled","status":"True","reason":"A","message":"b"}]}}`,
			argoHealth{"Progressing", "Waiting for apikey-manager to reconcile the object"},
		},
		"stalled": {
			"apikey-manager.io_APIKey", `{"metadata":{"generation":1},"status":{"observedGeneration":1,"conditions":[{"type":"Ready","status":"False","message":"b"},{"type":"Stalled","status":"True","reason":"A","message":"b"}]}}`,
			argoHealth{"Degraded", "A: b"},
		},
		"an Application without health": {"argoproj.io_Application", `{"status":{}}`, argoHealth{"Progressing", ""}},
		"an Application":                {"argoproj.io_Application", `{"status":{"health":{"status":"Degraded","message":"c"}}}`, argoHealth{"Degraded", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var object map[string]any
			controlplanetest.Must(t, json.Unmarshal([]byte(tc.object), &object))
			if got := runHealthCheck(t, checks["resource.customizations.health."+tc.kind], object); got != tc.want {
				t.Errorf("the health is %+v, want %+v", got, tc.want)
			}
		})
	}
}

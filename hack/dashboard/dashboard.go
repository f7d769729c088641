// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package main

// dashboard returns the dashboard. All replicas of the manager export the same keys, so the queries take the maximum over them.
func dashboard() object {
	return object{
		"uid": "apikey-manager", "title": "apikey-manager", "tags": []string{"apikey-manager"}, "schemaVersion": 39, "editable": true,
		"description": "API keys, verdicts of the verifiers, and the manager. docs/monitoring.md describes it.",
		"refresh":     "30s", "time": object{"from": "now-6h", "to": "now"},
		"templating": object{"list": []object{
			{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"},
			variable("account", "Account", "label_values(apikey_manager_account_keys, account)"),
			variable("protocol", "Protocol", "label_values(apikey_verifier_checks_total, protocol)"),
		}},
		"panels": layout([]row{
			{"Overview", overview},
			{"Keys", keyPanels},
			{"Requests", requestPanels},
			{"Verifiers", verifierPanels},
			{"KeyExports", exportPanels},
			{"Manager", managerPanels},
		}),
	}
}

const (
	keysByState = `sum by (state) (max by (account, state) (apikey_manager_account_keys{account=~"$account"}))`
	checksTotal = `sum(rate(apikey_verifier_checks_total{protocol=~"$protocol"}[$__rate_interval]))`
	refusals    = `rate(apikey_verifier_checks_total{protocol=~"$protocol", code!~"VALID|PREFLIGHT"}[$__rate_interval])`
)

var overview = []panel{
	{
		title: "Active keys", description: "Keys that verifiers accept.", kind: "stat", unit: "short", width: 4,
		queries: []query{{`sum(max by (account) (apikey_manager_account_keys{account=~"$account", state="Active"}))`, ""}},
	},
	{
		title: "Keys not ready", description: "Keys whose spec has not been carried out.", kind: "stat", unit: "short", width: 4,
		queries: []query{{
			`sum(max by (namespace, name) (apikey_manager_key_ready_status{account=~"$account", condition!="True"}))`, "",
		}},
	},
	{
		title: "Keys expiring within 30 days", description: "Keys that are still valid.", kind: "stat", unit: "short", width: 4,
		queries: []query{{
			`count(max by (namespace, name) (apikey_manager_key_expiration_timestamp_seconds{account=~"$account"}) - time() ` +
				`> 0 < 30 * 24 * 3600) or vector(0)`, "",
		}},
	},
	{
		title: "Requests", description: "Verdicts per second.", kind: "stat", unit: "reqps", width: 4,
		queries: []query{{checksTotal, ""}},
	},
	{
		title: "Refused", description: "Share of the requests that were refused.", kind: "stat", unit: "percentunit", width: 4,
		queries: []query{{`sum(` + refusals + `) / ` + checksTotal, ""}},
	},
	{
		title: "Synced verifiers", description: "Verifiers that have synced all keys and give verdicts.", kind: "stat", unit: "short", width: 4,
		queries: []query{{`sum(min without (cluster) (apikey_verifier_synced))`, ""}},
	},
}

var keyPanels = []panel{
	{
		title: "Keys by state", description: "Keys of the selected accounts.", kind: "timeseries", unit: "short", width: 12,
		queries: []query{{keysByState, "{{state}}"}},
	},
	{
		title: "Changes of keys", description: "Events of keys per minute, by reason.", kind: "timeseries", unit: "cpm", width: 12,
		queries: []query{{
			`60 * sum by (reason) (rate(apikey_manager_events_total{reason!~"Notification.*|MailLimitReached"}[$__rate_interval]))`,
			"{{reason}}",
		}},
	},
	{
		title: "Expiring soon", description: "The next 20 keys that expire, and the time until then.", kind: "table", unit: "s", width: 12,
		queries: []query{{
			`bottomk(20, max by (namespace, name, account) ` +
				`(apikey_manager_key_expiration_timestamp_seconds{account=~"$account"}) - time() > 0)`, "",
		}},
	},
	{
		title: "Next rotations", description: "The next 20 keys that are rotated, and the time until then.", kind: "table", unit: "s",
		width: 12,
		queries: []query{{
			`bottomk(20, max by (namespace, name, account) ` +
				`(apikey_manager_key_next_rotation_timestamp_seconds{account=~"$account"}) - time())`, "",
		}},
	},
	{
		title: "Accounts with most keys", description: "Keys in all states.", kind: "table", unit: "short", width: 24,
		queries: []query{{`topk(20, sum by (account) (max by (account, state) (apikey_manager_account_keys{account=~"$account"})))`, ""}},
	},
}

var requestPanels = []panel{
	{
		title: "Verdicts by code", description: "Verdicts per second.", kind: "timeseries", unit: "reqps", width: 12,
		queries: []query{{
			`sum by (code) (rate(apikey_verifier_checks_total{protocol=~"$protocol"}[$__rate_interval])) > 0`, "{{code}}",
		}},
	},
	{
		title: "Verdicts by protocol", description: "Verdicts per second.", kind: "timeseries", unit: "reqps", width: 12,
		queries: []query{{
			`sum by (protocol) (rate(apikey_verifier_checks_total{protocol=~"$protocol"}[$__rate_interval]))`, "{{protocol}}",
		}},
	},
	{
		title: "Refusals by code", description: "Refused requests per second. docs/verifier.md explains the codes.", kind: "timeseries",
		unit: "reqps", width: 12,
		queries: []query{{`sum by (code) (` + refusals + `)`, "{{code}}"}},
	},
	{
		title: "Refusals by account", kind: "timeseries", unit: "reqps", width: 12,
		description: "Refused requests with a known key per second, for the ten accounts with most of them. " +
			"Requires --account-metrics; accounts beyond --account-metrics-limit have no name.",
		queries: []query{{
			`topk(10, sum by (account) ` +
				`(rate(apikey_verifier_account_checks_total{account=~"$account", code!~"VALID|PREFLIGHT"}[$__rate_interval])))`, "{{account}}",
		}},
	},
	{
		title: "Latency", description: "Duration of a check in the verifier, without the time on the network.", kind: "timeseries",
		unit: "s", width: 24,
		queries: []query{{quantile("0.5"), "p50"}, {quantile("0.99"), "p99"}, {quantile("0.999"), "p99.9"}},
	},
}

// quantile returns the query for a quantile of the duration of checks.
func quantile(q string) string {
	return `histogram_quantile(` + q +
		`, sum by (le) (rate(apikey_verifier_check_duration_seconds_bucket{protocol=~"$protocol"}[$__rate_interval])))`
}

var verifierPanels = []panel{
	{
		title: "Propagation time", kind: "timeseries", unit: "s", width: 12,
		description: "Time until all verifiers refuse a key that was disabled. There is no value while no key is disabled.",
		queries: []query{
			{`histogram_quantile(0.5, sum by (le) (rate(apikey_manager_enforcement_seconds_bucket[5m])))`, "p50"},
			{`histogram_quantile(0.99, sum by (le) (rate(apikey_manager_enforcement_seconds_bucket[5m])))`, "p99"},
		},
	},
	{
		title: "Cache age", kind: "timeseries", unit: "s", width: 12,
		description: "Time for which each verifier may have missed changes, because its watch does not work. 0 while it works.",
		queries:     []query{{`apikey_verifier_cache_age_seconds`, "{{pod}} {{cluster}}"}},
	},
	{
		title: "Verifiers that the manager reaches", description: "Replicas at the last poll, and polls without response per second.",
		kind: "timeseries", unit: "short", width: 12,
		queries: []query{
			{`max by (reached) (apikey_manager_verifier_replicas)`, "reached: {{reached}}"},
			{`sum(rate(apikey_manager_verifier_polls_failed_total[$__rate_interval]))`, "failed polls"},
		},
	},
	{
		title: "Objects in memory", description: "Objects that a verifier holds.", kind: "timeseries", unit: "short", width: 12,
		queries: []query{
			{`sum(max by (cluster) (apikey_verifier_keys))`, "keys"},
			{`sum(max by (cluster) (apikey_verifier_credentials))`, "credentials"},
			{`sum(max by (cluster) (apikey_verifier_accounts))`, "accounts"},
			{`sum(max by (cluster, kind) (apikey_verifier_undecodable_objects))`, "undecodable"},
		},
	},
}

var exportPanels = []panel{
	{
		title: "Credentials of KeyExports", description: "Credentials that the objects of each KeyExport hold.", kind: "timeseries",
		unit: "short", width: 12,
		queries: []query{{`max by (namespace, name) (apikey_manager_export_credentials)`, "{{namespace}}/{{name}}"}},
	},
	{
		title: "Withheld keys", description: "Keys that verifiers accept and that a KeyExport withholds. Its status has the reasons.",
		kind: "timeseries", unit: "short", width: 12,
		queries: []query{{`max by (namespace, name) (apikey_manager_export_withheld_keys)`, "{{namespace}}/{{name}}"}},
	},
	{
		title: "Withdrawal time", kind: "timeseries", unit: "s", width: 8,
		description: "Time until a credential that ceased to be valid was withdrawn. There is no value while none is withdrawn.",
		queries: []query{
			{`histogram_quantile(0.5, sum by (le) (rate(apikey_manager_export_withdrawal_seconds_bucket[5m])))`, "p50"},
			{`histogram_quantile(0.99, sum by (le) (rate(apikey_manager_export_withdrawal_seconds_bucket[5m])))`, "p99"},
		},
	},
	{
		title: "Pending withdrawals", description: "Age of the oldest withdrawal that has not been written.", kind: "timeseries", unit: "s",
		width: 8,
		queries: []query{{
			`max by (namespace, name) (apikey_manager_export_withdrawal_pending_seconds)`, "{{namespace}}/{{name}}",
		}},
	},
	{
		title: "KeyExports not ready", description: "KeyExports whose spec has not been carried out.", kind: "stat", unit: "short", width: 8,
		queries: []query{{`sum(max by (namespace, name) (apikey_manager_export_ready_status{condition!="True"}))`, ""}},
	},
}

var managerPanels = []panel{
	{
		title: "Mails", description: "Mails about expiring keys in the last hour, by their outcome.", kind: "timeseries", unit: "short",
		width: 12,
		queries: []query{{
			`sum by (reason) (increase(apikey_manager_events_total{reason=~"Notification.*|MailLimitReached"}[1h]))`, "{{reason}}",
		}},
	},
	{
		title: "Queue", description: "Objects that wait to be reconciled, by controller.", kind: "timeseries", unit: "short", width: 12,
		queries: []query{{`sum by (name) (workqueue_depth{job="apikey-manager-metrics"})`, "{{name}}"}},
	},
	{
		title: "Time in the queue", description: "99th percentile by controller.", kind: "timeseries", unit: "s", width: 12,
		queries: []query{{
			`histogram_quantile(0.99, sum by (name, le) ` +
				`(rate(workqueue_queue_duration_seconds_bucket{job="apikey-manager-metrics"}[$__rate_interval])))`, "{{name}}",
		}},
	},
	{
		title: "Reconciles", description: "Reconciles per second, by controller and result.", kind: "timeseries", unit: "ops", width: 12,
		queries: []query{{
			`sum by (controller, result) (rate(controller_runtime_reconcile_total{job="apikey-manager-metrics"}[$__rate_interval]))`,
			"{{controller}}: {{result}}",
		}},
	},
	{
		title: "Memory", description: "Resident memory of each pod.", kind: "timeseries", unit: "bytes", width: 12,
		queries: []query{{`process_resident_memory_bytes{job=~"apikey-manager-metrics|apikey-verifier"}`, "{{pod}}"}},
	},
	{
		title: "CPU", description: "Cores that each pod uses.", kind: "timeseries", unit: "short", width: 12,
		queries: []query{{`rate(process_cpu_seconds_total{job=~"apikey-manager-metrics|apikey-verifier"}[$__rate_interval])`, "{{pod}}"}},
	},
	{
		title: "Webhook certificate", description: "Time until the certificate of the webhook expires. It is renewed 30 days before that.",
		kind: "stat", unit: "s", width: 6,
		queries: []query{{`min(apikey_manager_webhook_certificate_expiration_timestamp_seconds) - time()`, ""}},
	},
	{
		title: "Versions", description: "Replicas of each version.", kind: "stat", unit: "short", width: 18,
		queries: []query{
			{`count by (version) (apikey_manager_build_info)`, "manager {{version}}"},
			{`count by (version) (apikey_verifier_build_info)`, "verifier {{version}}"},
		},
	},
}

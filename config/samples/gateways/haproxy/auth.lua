-- SPDX-FileCopyrightText: The apikey-manager Authors
-- SPDX-License-Identifier: Apache-2.0

-- The action lua.apikey asks the verifier whether to allow the request, and sets the identity headers from its response.
-- The variable txn.apikey_needs holds the requirements: scopes=a,b&account=c&externalID=d&preflight=allow, each of them
-- optional.

local verifier = "http://127.0.0.1:8080"

local identity = {
  "x-apikey-id", "x-apikey-uid", "x-apikey-account", "x-apikey-external-id", "x-apikey-name", "x-apikey-scopes", "x-apikey-plan",
}

-- Headers that may contain a key. The verifier returns those that contain something else, such as a token of the application.
local key_headers = { "X-API-Key", "Authorization" }

-- Headers that describe the connection and the body of the client's request. They are not sent to the verifier.
local private = {
  "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
  "transfer-encoding", "upgrade",
}

-- Appends the peer of HAProxy to X-Forwarded-For. A client cannot forge the last entry.
local function forwarded_for(headers, peer)
  local hops = {}
  local came = headers["x-forwarded-for"] or {}
  for i = 0, #came do
    if came[i] then table.insert(hops, came[i]) end
  end
  table.insert(hops, peer)
  return table.concat(hops, ", ")
end

local function question(txn)
  local headers = txn.http:req_get_headers()
  headers["x-forwarded-host"] = headers["host"]
  for _, name in ipairs(private) do headers[name] = nil end
  headers["x-forwarded-for"] = { forwarded_for(headers, txn.f:src()) }
  headers["x-forwarded-method"] = { txn.f:method() }
  headers["x-forwarded-uri"] = { txn.f:url() }
  return headers
end

-- Headers of a rejection that the client receives.
local refusal_headers = {
  "content-type", "cache-control", "www-authenticate", "retry-after", "access-control-allow-origin", "access-control-expose-headers",
}

local function refuse(txn, answer)
  local reply = txn:reply({ status = 503, reason = "Service Unavailable" })
  if answer and answer.status and answer.status >= 400 then
    reply:set_status(answer.status, answer.reason)
    for _, name in ipairs(refusal_headers) do
      if answer.headers[name] then reply:add_header(name, answer.headers[name][0]) end
    end
    reply:set_body(answer.body)
  end
  txn:done(reply)
end

core.register_action("apikey", { "http-req" }, function(txn)
  local needs = txn:get_var("txn.apikey_needs") or ""
  local answer = core.httpclient():get({ url = verifier .. "/authz?" .. needs, headers = question(txn), timeout = 2000 })
  if not answer or answer.status ~= 200 then return refuse(txn, answer) end
  for _, name in ipairs(identity) do
    if answer.headers[name] then txn.http:req_set_header(name, answer.headers[name][0]) end
  end
  for _, name in ipairs(key_headers) do
    txn.http:req_del_header(name)
    local own = answer.headers[string.lower(name)]
    if own then txn.http:req_set_header(name, own[0]) end
  end
  txn:set_var("txn.apikey_allowed", true)
end)

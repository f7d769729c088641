module github.com/apikey-manager/apikey-manager/hack/gateways/external-secrets

go 1.26.0

// test/exports reads the CustomResourceDefinitions of this module.
require github.com/external-secrets/external-secrets v1.3.2

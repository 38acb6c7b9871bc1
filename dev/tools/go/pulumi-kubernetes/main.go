// Command pulumi-resource-kubernetes is Pulumi's Kubernetes provider, built from its Go module. The module's own main
// embeds files that its release build generates; this one embeds the two that they are made from, which the build
// copies beside it out of the module cache.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

//go:embed schema.json
var schema []byte

//go:embed terraform-mapping.json
var terraformMapping []byte

func main() {
	provider.Serve("kubernetes", version.Version, schema, terraformMapping)
}

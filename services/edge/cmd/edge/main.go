// Command edge is the public door: REST and GraphQL over HTTP.
package main

import (
	"os"

	"github.com/trackway/trackway/services/edge"
	"github.com/trackway/trackway/services/platform/app"
)

func main() {
	os.Exit(app.Main("edge", edge.Run, nil))
}

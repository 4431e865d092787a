// Command projects is the projects service. `projects` serves; `projects migrate` migrates its database and ends.
package main

import (
	"os"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/projects"
)

func main() {
	os.Exit(app.Main("projects", projects.Run, map[string]app.Command[projects.Config]{"migrate": projects.Migrate}))
}

// Command tasks is the tasks service. `tasks` serves; `tasks migrate` migrates its database and ends.
package main

import (
	"os"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/tasks"
)

func main() {
	os.Exit(app.Main("tasks", tasks.Run, map[string]app.Command[tasks.Config]{"migrate": tasks.Migrate}))
}

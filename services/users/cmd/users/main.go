// Command users is the users service. `users` serves; `users migrate` migrates its database and ends.
package main

import (
	"os"

	"github.com/trackway/trackway/services/platform/app"
	"github.com/trackway/trackway/services/users"
)

func main() {
	os.Exit(app.Main("users", users.Run, map[string]app.Command[users.Config]{"migrate": users.Migrate}))
}

package cache

import (
	"embed"
	"io/fs"

	"github.com/trackway/trackway/services/platform/postgres"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations creates what a Writer needs in the database of its service.
func Migrations() fs.FS { return postgres.MigrationFiles(migrations) }

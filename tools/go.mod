module github.com/trackway/trackway/tools

go 1.26

require github.com/trackway/trackway/graph v0.0.0
require github.com/trackway/trackway/services/edge v0.0.0
require github.com/trackway/trackway/services/platform v0.0.0
require github.com/trackway/trackway/services/projects v0.0.0
require github.com/trackway/trackway/services/rpc v0.0.0
require github.com/trackway/trackway/services/tasks v0.0.0
require github.com/trackway/trackway/services/users v0.0.0

replace (
	github.com/trackway/trackway/graph => ../graph
	github.com/trackway/trackway/services/edge => ../services/edge
	github.com/trackway/trackway/services/platform => ../services/platform
	github.com/trackway/trackway/services/projects => ../services/projects
	github.com/trackway/trackway/services/rpc => ../services/rpc
	github.com/trackway/trackway/services/tasks => ../services/tasks
	github.com/trackway/trackway/services/users => ../services/users
)

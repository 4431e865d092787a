//go:build !trackway_nobump

package cache

// bumps is off in one test, which shows that the checker finds what is stale then (tools/e2e).
const bumps = true

//go:build trackway_nobump

package cache

const bumps = false

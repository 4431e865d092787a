package cache

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// Keys in Redis. What stands in braces decides on the node of a cluster: a tag and the answers that are kept under it
// first are on one node.
//
//	version:{task:7}            the version of a tag, and who is about to change it (scripts.go)
//	answer:{task:7}:3Fa…:GET/api/…  an answer of a program (entry.go)
//	lease:tasks                 that the answers which depend on the service may be believed (lease.go)
const (
	versionPrefix = "version:{"
	answerPrefix  = "answer:{"
	leasePrefix   = "lease:"
)

func versionKey(tag string) string { return versionPrefix + tag + "}" }

func answerKey(tag, program, name string) string {
	return answerPrefix + tag + "}:" + program + ":" + name
}

// hashTag is what decides on the node of a key.
func hashTag(key string) string {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			return tag
		}
	}
	return key
}

// byNode puts keys together that one command may name: all of them, or in a cluster those of one hash tag. It gives
// their places in keys.
func byNode(client redis.UniversalClient, keys []string) [][]int {
	if _, cluster := client.(*redis.ClusterClient); !cluster {
		all := make([]int, len(keys))
		for i := range all {
			all[i] = i
		}
		return [][]int{all}
	}
	var (
		groups [][]int
		at     = make(map[string]int, len(keys))
	)
	for i, key := range keys {
		tag := hashTag(key)
		g, ok := at[tag]
		if !ok {
			g = len(groups)
			at[tag] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

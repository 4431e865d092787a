package cache

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The version of a tag is a string that is never used a second time, so that no flush, no restart from an old snapshot
// and no failover can make an old answer look new. While somebody is about to change what the tag names, the string
// ends in their marks:
//
//	v7K2cQpX0aE                                     nobody is
//	v7K2cQpX0aE|b8ZxT1m9cQk:1764086400123           one is, who will have ended by that time of Redis's clock
//
// Marks are added and taken away one by one: of several who change a tag at once none takes away another's.

// markScript adds a mark to each of the tags: ARGV are the mark, its lifetime and that of a version, in milliseconds.
// The key lives as long as its marks: the tag of one who died gets a new version when somebody asks for it.
const markScript = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local mine = '|' .. ARGV[1] .. ':'
for _, key in ipairs(KEYS) do
	local v = redis.call('GET', key) or ARGV[1]
	if not string.find(v, mine, 1, true) then
		v = v .. mine .. string.format('%.0f', now + ARGV[2])
	end
	redis.call('SET', key, v, 'PX', ARGV[2])
end
return 1`

// A client that has lost a connection sends again what Redis may have done already, and others may have written between
// the two: what was a version then must not become it again. So a mark becomes the version as it is only where it is there
// to be taken away, which is once. Elsewhere, and in what heals, the time is added.

// finishScript gives each of the tags the mark as its new version, and takes the mark away, and with it those whose time
// is over: ARGV are as in markScript.
//
//nolint:dupword // Lua ends its blocks so
const finishScript = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for _, key in ipairs(KEYS) do
	local v = redis.call('GET', key) or ''
	local out, last = ARGV[1], 0
	if not string.find(v, '|' .. ARGV[1] .. ':', 1, true) then
		out = out .. '.' .. t[1] .. '.' .. t[2]
	end
	for mark, ends in string.gmatch(v, '|([^:|]+):(%d+)') do
		ends = tonumber(ends)
		if mark ~= ARGV[1] and ends > now then
			out = out .. '|' .. mark .. ':' .. string.format('%.0f', ends)
			last = math.max(last, ends)
		end
	end
	redis.call('SET', key, out, 'PX', last > 0 and string.format('%.0f', last - now) or ARGV[3])
end
return 1`

// healScript is finishScript for the tags that the mark has not become the version of, or still is on: what its writer did,
// or should have done. ARGV[4] is what the version to give begins with.
//
//nolint:dupword // Lua ends its blocks so
const healScript = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for _, key in ipairs(KEYS) do
	local v = redis.call('GET', key)
	if v and (string.match(v, '^[^|]*') ~= ARGV[1] or string.find(v, '|' .. ARGV[1] .. ':', 1, true)) then
		local out, last = ARGV[4] .. '.' .. t[1] .. '.' .. t[2], 0
		for mark, ends in string.gmatch(v, '|([^:|]+):(%d+)') do
			ends = tonumber(ends)
			if mark ~= ARGV[1] and ends > now then
				out = out .. '|' .. mark .. ':' .. string.format('%.0f', ends)
				last = math.max(last, ends)
			end
		end
		redis.call('SET', key, out, 'PX', last > 0 and string.format('%.0f', last - now) or ARGV[3])
	end
end
return 1`

// clockScript is the time of the server that has the key, in milliseconds.
const clockScript = `
local t = redis.call('TIME')
return t[1] * 1000 + math.floor(t[2] / 1000)`

// leaseScript makes the lease last until ARGV[2], a time of clockScript. A lease that is not there any more begins anew as
// ARGV[1].
const leaseScript = `
local v = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], v, 'PXAT', ARGV[2])
return v`

// script is a script that one command runs on several keys.
type script struct{ *redis.Script }

func newScript(text string) script { return script{redis.NewScript(text)} }

// run runs the script on the keys, in one round trip.
func (s script) run(ctx context.Context, client redis.UniversalClient, keys []string, args ...any) error {
	groups := byNode(client, keys)
	if len(groups) == 1 {
		return s.Run(ctx, client, keys, args...).Err()
	}
	err := s.pipeline(ctx, client, keys, groups, func(p redis.Pipeliner, some []string) {
		s.EvalSha(ctx, p, some, args...)
	})
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") { // a node that has started since
		err = s.pipeline(ctx, client, keys, groups, func(p redis.Pipeliner, some []string) {
			s.Eval(ctx, p, some, args...)
		})
	}
	return err
}

func (script) pipeline(ctx context.Context, client redis.UniversalClient, keys []string, groups [][]int,
	add func(p redis.Pipeliner, some []string),
) error {
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, group := range groups {
			some := make([]string, 0, len(group))
			for _, i := range group {
				some = append(some, keys[i])
			}
			add(p, some)
		}
		return nil
	})
	return err
}

package local

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// endsWithItsRun checks that the server of a run that was killed has gone without anybody's help.
func endsWithItsRun(t *testing.T, redisURL string) {
	t.Helper()
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	o.MaxRetries, o.DialerRetries = -1, 1
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	eventually(t, "the Redis of a killed run ends", func() bool { return client.Ping(t.Context()).Err() != nil })
}

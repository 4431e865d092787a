// Command story plays a short story against the Trackway at an address: `story http://edge:8080`. It exits with 1 when
// that does not go as it should.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/trackway/trackway/tools/story"
)

// timeout bounds the whole story.
const timeout = time.Minute

func main() {
	if err := play(); err != nil {
		fmt.Fprintln(os.Stderr, "story:", err)
		os.Exit(1)
	}
}

func play() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("want one argument, the address, such as http://localhost:8080, not %q", os.Args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client := story.Client{URL: os.Args[1], HTTP: &http.Client{Timeout: timeout / 2}}
	return story.Play(ctx, client, func(step string) { fmt.Println(step) })
}

package auth

import (
	"context"
	"strings"

	"google.golang.org/grpc/metadata"
)

// deviceHeader is the metadata in which a call says what the client calls itself.
const deviceHeader = "device"

// maxDevice is how much of a device's name is of use, in bytes.
const maxDevice = 200

// WithDevice makes the calls of ctx tell what the client calls itself: the User-Agent of its request. What is not
// printable ASCII is left out of it.
func WithDevice(ctx context.Context, name string) context.Context {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, name[:min(len(name), maxDevice)])
	if name = strings.TrimSpace(name); name == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, deviceHeader, name)
}

// DeviceFrom gives what the client of an incoming call calls itself, or nothing.
func DeviceFrom(ctx context.Context) string {
	name := strings.ToValidUTF8(strings.Join(metadata.ValueFromIncomingContext(ctx, deviceHeader), ""), "")
	return name[:min(len(name), maxDevice)]
}

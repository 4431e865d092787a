package edge

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/trackway/trackway/services/edge/rest"
	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
)

// admit says who is calling and whether they may call now. A token that is not good is counted against the address, so
// that trying tokens is limited, and then refused, even where none is needed: an app learns at once that it must
// renew it.
func admit(next http.Handler, tokens *authenticator, rates *rates, proxies []netip.Prefix, q queries) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		x.address = addressOf(r, proxies)
		caller, err := tokens.authenticate(r.Context(), r.Header, x.address)
		key := x.address
		signIn := signsIn(r)
		if caller != nil && !signIn {
			key = userKey(caller)
		}
		var riders []redis.Cmder
		if caller != nil {
			x.caller = caller.UserID
			r = r.WithContext(auth.WithCaller(r.Context(), caller))
			if x.begun = begin(q.answers, r, caller); x.begun != nil {
				riders = x.begun.lookup.Commands(r.Context())
			} else if x.foreseen = q.foresee(r, caller); x.foreseen != nil {
				riders = x.foreseen.commands(r.Context(), rates, caller)
				defer x.foreseen.refund(r.Context(), rates, caller)
			}
		}
		if limited := rates.take(r.Context(), w.Header(), key, signIn, riders...); limited != nil {
			rest.WriteProblem(w, r, limited)
			return
		}
		if err != nil {
			rest.WriteProblem(w, r, err)
			return
		}
		if signIn || r.URL.Path == "/graphql" { // where a session may begin
			r = r.WithContext(auth.WithDevice(r.Context(), r.UserAgent()))
		}
		next.ServeHTTP(w, r)
	})
}

// addressOf is what requests from an address are counted against.
func addressOf(r *http.Request, proxies []netip.Prefix) string {
	return "address:" + clientAddress(r, proxies)
}

// userKey is what a caller's requests are counted against.
func userKey(caller *auth.Caller) string { return "user:" + strconv.FormatInt(caller.UserID, 10) }

// signsIn reports whether the stricter limit holds.
func signsIn(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/auth/") }

// authenticate gives the caller, or nil when nobody says who they are.
func (a *authenticator) authenticate(ctx context.Context, h http.Header, address string) (*auth.Caller, error) {
	sent := h["Authorization"]
	if len(sent) == 0 || len(sent[0]) > maxHeaders { // such a request is refused for its headers, and not looked at
		return nil, nil //nolint:nilnil // nobody is no error
	}
	token, ok := auth.Bearer(sent[0])
	if !ok || len(sent) > 1 {
		return nil, errs.New(errs.Unauthenticated, "The header Authorization must be Bearer and a token.").
			Because(rest.ErrBadToken)
	}
	caller, err := a.caller(ctx, token, address)
	if errs.Is(err, errs.Unauthenticated) {
		return nil, errs.New(errs.Unauthenticated, "The access token is not valid.").Because(rest.ErrBadToken)
	}
	return caller, err
}

// ipv6Prefix is how much of an IPv6 address is one client's.
const ipv6Prefix = 64

// clientAddress is where the request comes from. The proxies in front of us say so in X-Forwarded-For, of which only
// what they have added themselves can be believed: the last address that is not one of theirs.
func clientAddress(r *http.Request, proxies []netip.Prefix) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr // a network in memory has no addresses
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	trusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	addr = addr.Unmap()
	if trusted(addr) {
		hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
		for _, hop := range slices.Backward(hops) {
			a, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				break
			}
			if addr = a.Unmap(); !trusted(addr) {
				break
			}
		}
	}
	if addr.Is6() {
		if p, err := addr.WithZone("").Prefix(ipv6Prefix); err == nil {
			return p.Addr().String()
		}
	}
	return addr.String()
}

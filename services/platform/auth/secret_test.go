package auth

import (
	"regexp"
	"testing"
)

// TestASecretIsKnownByItsForm: the form is a promise to secret scanners.
func TestASecretIsKnownByItsForm(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^twk_[0-9a-zA-Z]{49}$`)
	seen := make(map[string]bool)
	for range 1000 {
		s := NewSecret()
		if !form.MatchString(s) || !IsSecret(s) || seen[s] {
			t.Fatalf("got %q, want a new one of the form %s", s, form)
		}
		seen[s] = true
		for i := len(SecretPrefix); i < len(s); i++ { // any one mistake is found
			other := byte('0')
			if s[i] == other {
				other = 'Z'
			}
			if wrong := s[:i] + string(other) + s[i+1:]; IsSecret(wrong) {
				t.Fatalf("%q for %q: got a secret, want none", wrong, s)
			}
		}
	}
	for _, s := range []string{"", "twk_", "twk_000000", "twk_" + "0000000000000000000000000000000000000000000" + "00000é"} {
		if IsSecret(s) {
			t.Errorf("%q: got a secret, want none", s)
		}
	}
	// Computed by another program: the checksum never changes.
	if got := checksum("0000000000000000000000000000000000000000000"); got != "2czCLJ" {
		t.Errorf("checksum: got %q, want 2czCLJ", got)
	}
}

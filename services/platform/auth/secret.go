package auth

import (
	"crypto/rand"
	"hash/crc32"
	"math/big"
	"strings"
)

// SecretPrefix begins every personal access token, so that people and secret scanners know one when they see it.
const SecretPrefix = "twk_"

// A personal access token is the prefix, 256 random bits, and the CRC-32 of these as they are written, both in base 62
// (0-9, a-z, A-Z) of a fixed length: twk_[0-9a-zA-Z]{49}. What is mistyped, cut off or made up is known without a
// look-up, as that of GitHub is: https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/.
const (
	base62       = 62
	randomDigits = 43
	sumDigits    = 6
)

// NewSecret makes a personal access token.
func NewSecret() string {
	bits := make([]byte, 32)
	rand.Read(bits)
	random := digits(new(big.Int).SetBytes(bits), randomDigits)
	return SecretPrefix + random + checksum(random)
}

// IsSecret reports whether the text is a personal access token by its form and checksum; nobody need have it.
func IsSecret(s string) bool {
	body, ok := strings.CutPrefix(s, SecretPrefix)
	if !ok || len(body) != randomDigits+sumDigits {
		return false
	}
	return body[randomDigits:] == checksum(body[:randomDigits])
}

func checksum(random string) string {
	return digits(big.NewInt(int64(crc32.ChecksumIEEE([]byte(random)))), sumDigits)
}

func digits(n *big.Int, length int) string {
	s := n.Text(base62)
	return strings.Repeat("0", length-len(s)) + s
}

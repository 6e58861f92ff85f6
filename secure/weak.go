package secure

import (
	"fmt"
	"math"
	"strings"
	"unicode"
)

// A key is guessed offline, from one recorded datagram, at about ten guesses a
// second and core (Argon2id). 16 characters and 64 bits by a generous estimate
// are out of reach; people's words are not.
const (
	minKeyLength = 16
	minKeyBits   = 64
)

// commonWords are what people write into a sample and forget to change.
var commonWords = []string{
	"secret", "password", "passwort", "passwd", "changeme", "change-me", "letmein", "welcome", "qwerty", "qwertz",
	"admin", "root", "test", "example", "default", "cluster", "flip", "key", "abc", "123", "0000", "1111", "xxx",
}

// Weak says in words why a shared key is easily guessed, if it is.
func Weak(key string) (reason string, weak bool) {
	if n := len([]rune(key)); n < minKeyLength {
		return fmt.Sprintf("has %d characters, wanted are %d or more", n, minKeyLength), true
	}
	rest := strings.ToLower(key)
	for _, word := range commonWords {
		rest = strings.ReplaceAll(rest, word, "")
	}
	// A word in a long random key costs it little; a key of words loses all.
	if bits := entropy(rest); bits < minKeyBits {
		if len(rest) < len(key) && entropy(key) >= minKeyBits {
			return "is made of common words", true
		}
		return fmt.Sprintf("is easily guessed: about %d bits, wanted are %d or more", int(bits), minKeyBits), true
	}
	return "", false
}

// entropy is a generous estimate in bits: each character that does not follow
// from the one before it counts as drawn from the kinds of characters used, and
// all of them as drawn from the different ones there are.
func entropy(key string) float64 {
	var kinds, fresh float64
	different := make(map[rune]bool)
	used := make(map[string]bool)
	var before rune
	for _, r := range key {
		if step := r - before; step < -1 || step > 1 {
			fresh++
		}
		before = r
		different[r] = true
		if kind, size := kindOf(r); !used[kind] {
			used[kind] = true
			kinds += size
		}
	}
	if fresh == 0 {
		return 0
	}
	return fresh * math.Min(math.Log2(kinds), math.Log2(float64(len(different)))+1)
}

// kindOf is the kind of a character and how many of the kind there are.
func kindOf(r rune) (string, float64) {
	switch {
	case unicode.IsDigit(r):
		return "digit", 10
	case unicode.IsLower(r):
		return "lower", 26
	case unicode.IsUpper(r):
		return "upper", 26
	default:
		return "other", 32
	}
}

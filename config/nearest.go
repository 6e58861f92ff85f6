package config

import (
	"fmt"
	"strings"
)

// nearest is the candidate with the smallest edit distance to word, or "" when
// none is near enough to be what was meant.
func nearest(word string, candidates []string) string {
	best, bestAt := "", len(word)/3+2 // a third of the letters may be wrong
	for _, c := range candidates {
		if begins(word, c) || begins(c, word) {
			return c
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < bestAt {
			best, bestAt = c, d
		}
	}
	return best
}

// begins reports whether a word is cut short of another, as warn of warning.
func begins(word, of string) bool { return len(word) >= 3 && strings.HasPrefix(of, word) }

// Meant is a hint for a word that is none of the candidates: the nearest of them,
// or else all.
func Meant(word string, candidates []string) string { return meant(word, candidates) }

// meant is a hint: the nearest candidate, or else all of them.
func meant(word string, candidates []string) string {
	if n := nearest(word, candidates); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	const most = 12
	if len(candidates) == 0 {
		return ""
	}
	if len(candidates) > most {
		return fmt.Sprintf("one of %s … (%d in all)", strings.Join(candidates[:most], ", "), len(candidates))
	}
	return "one of " + strings.Join(candidates, ", ")
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	const longest = 100 // a longer word is no slip of a key's name
	if len(x) > longest || len(y) > longest {
		return longest
	}
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			differ := 1
			if x[i-1] == y[j-1] {
				differ = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differ)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}

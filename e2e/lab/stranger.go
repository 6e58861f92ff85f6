package lab

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// FlushRuleset is `nft flush ruleset` by a stranger.
func (h *Host) FlushRuleset() error {
	c, err := h.Space.nft()
	if err != nil {
		return err
	}
	c.FlushRuleset()
	if err := c.Flush(); err != nil {
		return fmt.Errorf("flush the ruleset of %s: %w", h.Name, err)
	}
	return nil
}

// GateTables are the names of the tables of flip's that the host has, each once
// for its family.
func (h *Host) GateTables() ([]string, error) {
	tables, err := h.gateTables()
	var out []string
	for _, t := range tables {
		out = append(out, t.Name)
	}
	return out, err
}

func (h *Host) gateTables() ([]*nftables.Table, error) {
	c, err := h.Space.nft()
	if err != nil {
		return nil, err
	}
	all, err := c.ListTables()
	if err != nil {
		return nil, fmt.Errorf("tables of %s: %w", h.Name, err)
	}
	var out []*nftables.Table
	for _, t := range all {
		if strings.HasPrefix(t.Name, "flip") {
			out = append(out, t)
		}
	}
	return out, nil
}

// ErrOwned means that the kernel keeps a table from strangers.
var ErrOwned = errors.New("the table has an owner")

// DeleteGate tries, as a stranger, to delete each of flip's tables. ErrOwned: the
// kernel let none be deleted.
func (h *Host) DeleteGate() error {
	tables, err := h.gateTables()
	if err != nil {
		return err
	}
	if len(tables) == 0 {
		return fmt.Errorf("%s has no gate", h.Name)
	}
	owned := 0
	for _, t := range tables {
		c, err := h.Space.nft()
		if err != nil {
			return err
		}
		c.DelTable(t)
		switch err := c.Flush(); {
		case errors.Is(err, unix.EPERM):
			owned++
		case err != nil:
			return fmt.Errorf("delete the table %s of %s: %w", t.Name, h.Name, err)
		}
	}
	if owned == len(tables) {
		return ErrOwned
	}
	return nil
}

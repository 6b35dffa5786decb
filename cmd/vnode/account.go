package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"vnode/visitor/sasl"
)

const accountUsage = `usage: vnode account USER@DOMAIN < password

prints a line for accounts-file: the salted keys of the password on the first
line of its input. *@DOMAIN makes a secret that all users of the domain share.
`

// account makes a line of an accounts file.
func account(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New(accountUsage)
	}
	password, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && (err != io.EOF || password == "") {
		return errors.New("account: no password on standard input")
	}
	password = strings.TrimRight(password, "\r\n")
	if password == "" {
		return errors.New("account: the password is empty")
	}
	a, err := sasl.NewAccount(args[0], password, false)
	if err != nil {
		return err
	}
	line := a.Line(args[0])
	if _, err := sasl.ReadAccounts(strings.NewReader(line)); err != nil {
		return fmt.Errorf("account: %w", err)
	}
	_, err = fmt.Fprintln(stdout, line)
	return err
}

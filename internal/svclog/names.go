// This file holds the one table of names whose values are secret, and the rule
// by which a name is looked up in it.

package svclog

import (
	"sync"
	"unicode/utf8"
)

// verdict says what a name tells about its value.
type verdict uint8

const (
	// readable: nothing is known against the name.
	readable verdict = iota
	// secretField: the value is secret where the name is a field, a key, a
	// parameter or a header, but the word is too common to act on in prose.
	secretField
	// secretAnywhere: the value is secret wherever the name stands before it.
	secretAnywhere
	// secretLine: as secretAnywhere, and in prose the whole rest of the line.
	secretLine
)

// names returns every name that is judged as a whole. A name is normalised before
// it is looked up: lower case, letters and digits only, so one row covers
// refresh_token, refreshToken and Refresh-Token. Rows with readable are the
// look-alikes: they contain or end in a secret word and stay legible.
//
// The rows come from the public API descriptions of the products; the last
// groups are those of veeam-auth and of the protocols of clients.
func names() map[string]verdict {
	return map[string]verdict{
		// what logs in
		"password": secretAnywhere, "oldpassword": secretAnywhere, "newpassword": secretAnywhere,
		"currentpassword": secretAnywhere, "adminspassword": secretAnywhere, "userpassword": secretAnywhere,
		"rootpassword": secretAnywhere, "accountpassword": secretAnywhere, "serviceaccountpassword": secretAnywhere,
		"office365userpassword": secretAnywhere, "officeuserpassword": secretAnywhere,
		"onpremisesuserpassword": secretAnywhere, "defaultuserpassword": secretAnywhere,
		"certificatepassword": secretAnywhere, "webservercertificatepfxpassword": secretAnywhere,
		"applicationcertificatepassword": secretAnywhere, "keyorpassword": secretAnywhere,
		"passwords": secretAnywhere, "passphrase": secretAnywhere, "privatekeypassphrase": secretAnywhere,
		"pass": secretField, "pw": secretField, "pin": secretField, "psw": secretField, "userpass": secretField,

		// tokens and codes
		"accesstoken": secretAnywhere, "refreshtoken": secretAnywhere, "mfatoken": secretAnywhere,
		"updatertoken": secretAnywhere, "longlivedrefreshtoken": secretAnywhere, "ssotoken": secretAnywhere,
		"integrationtoken": secretAnywhere, "vbrtoken": secretAnywhere, "recoverytoken": secretAnywhere,
		"samlresponse": secretAnywhere, "assertion": secretField, "token": secretField, "tokens": secretField,
		"accesstokens": secretAnywhere, "refreshtokens": secretAnywhere, "accesstokencache": secretAnywhere,
		"recoverytokens": secretAnywhere, "code": secretField, "mfacode": secretAnywhere, "authcode": secretAnywhere,
		"authorizationcode": secretAnywhere, "authenticationcode": secretAnywhere, "encryptedcode": secretAnywhere,
		"verificationcode": secretAnywhere, "scratchcode": secretAnywhere, "scratchcodes": secretAnywhere,
		"recoverycode": secretAnywhere, "recoverycodes": secretAnywhere, "devicecode": secretAnywhere,
		"codeverifier": secretAnywhere, "otp": secretField, "totp": secretField, "totpcode": secretAnywhere,
		"otpcode": secretAnywhere, "handshakecode": secretAnywhere,

		// keys, seeds and what carries them
		"secret": secretField, "secrets": secretField, "secretkey": secretAnywhere, "newsecretkey": secretAnywhere,
		"accesskey": secretAnywhere, "accesskeys": secretField, "sharedkey": secretAnywhere, "clientsecret": secretAnywhere,
		"applicationsecret": secretAnywhere, "privatekey": secretAnywhere, "privatekeys": secretAnywhere,
		"privatekeybase64": secretAnywhere, "certificatecontent": secretAnywhere, "applicationcertificate": secretField,
		"pfx": secretField, "pkcs12": secretField, "publickey": secretField, "qrstring": secretAnywhere,
		"secreturl": secretAnywhere, "mfakey": secretAnywhere, "mfaqrcodeurl": secretAnywhere, "seed": secretField,
		"totpseed": secretAnywhere, "keytab": secretField, "connectionstring": secretField,
		"community": secretField, // of SNMP, which is all that a trap or a query proves itself by

		// sessions and headers
		"authorization": secretLine, "proxyauthorization": secretLine, "cookie": secretLine, "setcookie": secretLine,
		"cookies": secretField, "xrestsvcsessionid": secretAnywhere, "restsvcsessionid": secretAnywhere,
		"authenticationinfo": secretField, "xapikey": secretAnywhere, "bearer": secretField,
		"requestverificationtoken": secretAnywhere, "sharedaccesssignature": secretAnywhere, "signature": secretField, "sig": secretField,
		"xamzsignature": secretAnywhere, "xamzcredential": secretAnywhere,

		// look-alikes
		"encryptionpasswordid": readable, "encryptionpasswordidornull": readable, "encryptionpassworduniqueid": readable,
		"encryptionpasswordtag": readable, "encryptionpasswords": readable, "passwordid": readable, "passwordhint": readable,
		"passwordfilepath": readable, "recoveryrecpasswordlossprotection": readable, "tokentype": readable,
		"nextchangetoken": readable, "continuationtoken": readable, "pagetoken": readable, "nextpagetoken": readable,
		"postmantoken": readable, "encryptionkeyid": readable, "encryptionkeyname": readable,
		"clientsecretexpiration": readable, "assertionconsumerurl": readable, "errorcode": readable, "statuscode": readable,
		"keysize": readable, "tokenid": readable, "granttype": readable, "useshorttermrefresh": readable,
		"shortlivedrefreshtoken": readable, "disableantiforgerytoken": readable, "mfaenabled": readable,
	}
}

// suffixes are the words that make a name secret when it ends in one of them
// and is not in the table: a product's next version adds backupAdminPassword
// before anybody adds it here.
var suffixes = [256][]string{
	'd': {"password", "passwd", "pwd"},
	'e': {"passphrase", "passcode", "mfacode", "authcode", "authorizationcode", "verificationcode", "scratchcode", "recoverycode", "handshakecode", "pairingcode", "seedphrase", "keyphrase"},
	'g': {"connectionstring", "communitystring"},
	'h': {"passwordhash", "passwdhash"},
	'i': {"sasuri"},
	'l': {"sasurl", "keymaterial"},
	'n': {"token", "assertion"},
	'p': {"otp"},
	's': {
		"passwords", "passphrases", "scratchcodes", "recoverycodes", "privatekeys", "secretkeys", "accesskeys", "apikeys", "sshkeys",
		"recoverykeys", "licensekeys", "connectionstrings", "communitystrings",
	},
	't': {"secret"},
	'y': {
		"secretkey", "accesskey", "privatekey", "sharedkey", "apikey", "encryptionkey", "decryptionkey", "accountkey",
		"signingkey", "masterkey", "cachekey", "sshkey", "recoverykey", "licensekey", "productkey", "activationkey", "unlockkey",
		"authkey", "hmackey", "aeskey", "rsakey", "sessionkey", "passkey", "storagekey", "functionkey", "presharedkey",
		"bitlockerkey", "subscriptionkey", "integrationkey", "servicekey", "symmetrickey", "privkey", "snmpcommunity",
	},
}

// wrappings are the words behind the name of a secret that tell its form, as in
// tokenValue and passwordText, or which of several it is, as in newPasswordConfirm.
var wrappings = [256][]string{
	'a': {"data"},
	'b': {"b"}, // of Base64, whose digits are off
	'd': {"encrypted", "old"},
	'e': {"value", "base"},
	'g': {"string"},
	'm': {"pem", "confirm"},
	'n': {"confirmation"},
	's': {"values", "bytes"},
	't': {"plaintext", "cleartext", "text", "content", "repeat", "current"},
	'w': {"raw", "new"},
	'x': {"hex"},
}

// unwrapped removes one such word. What is left of codeText is the number of an
// error.
func unwrapped(normal []byte) []byte {
	for _, word := range wrappings[normal[len(normal)-1]] {
		if rest := len(normal) - len(word); rest > 0 && string(normal[rest:]) == word && string(normal[:rest]) != "code" {
			return normal[:rest]
		}
	}
	return nil
}

// nameWidth is how much of a normalised name is kept. No row is longer, and of
// a longer name the end decides.
const nameWidth = 48

// normalize writes the lower-case letters and the digits of name, at most the
// last nameWidth of them, to the end of buf.
func normalize(buf *[nameWidth]byte, name string) []byte {
	at := len(buf)
	for i := len(name); i > 0 && at > 0; {
		c := name[i-1]
		i--
		if c >= utf8.RuneSelf {
			var r rune
			var size int
			r, size = utf8.DecodeLastRuneInString(name[:i+1])
			i = i + 1 - size
			c = foldRune(r)
		}
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		default:
			continue
		}
		at--
		buf[at] = c
	}
	return buf[at:]
}

// judge classifies a name as it was written, without decoding it.
func judge(name string) verdict {
	var buf [nameWidth]byte
	normal := normalize(&buf, name)
	if len(normal) == 0 {
		return readable
	}
	if v, listed := listedName(normal); listed {
		return v
	}
	for normal[len(normal)-1] <= '9' {
		if normal = normal[:len(normal)-1]; len(normal) == 0 {
			return readable
		}
		if v, listed := listedName(normal); listed {
			return v // password2, code[0]
		}
	}
	if v := endOfName(normal); v != readable {
		return v
	}
	if rest := unwrapped(normal); rest != nil {
		if v, listed := listedName(rest); listed {
			return v
		}
		return endOfName(rest)
	}
	return readable
}

// endOfName judges a name by what it ends in.
func endOfName(normal []byte) verdict {
	for _, suffix := range suffixes[normal[len(normal)-1]] {
		if len(normal) >= len(suffix) && string(normal[len(normal)-len(suffix):]) == suffix {
			return secretAnywhere
		}
	}
	return readable
}

// nameIndex is what makes looking a name up quick.
type nameIndex struct {
	rows map[string]verdict

	// outline holds the first letters and the last letters of the names of each length.
	// It spares most names the look into the table.
	outline [nameWidth + 1]struct{ first, last [256]bool }

	// ends holds, by its last letter, what can stand before that in a name that is not
	// readable, digits at the end aside.
	ends [256][256]bool
}

// nameRows is made when the first name is judged.
var nameRows = sync.OnceValue(func() *nameIndex {
	x := &nameIndex{rows: names()}
	for name, v := range x.rows {
		row := &x.outline[len(name)]
		row.first[name[0]], row.last[name[len(name)-1]] = true, true
		if v != readable {
			x.end(name)
		}
	}
	for _, words := range suffixes {
		for _, word := range words {
			x.end(word)
		}
	}
	return x
})

// end notes a name or the end of one, and the words that may follow it.
func (x *nameIndex) end(name string) {
	digits := name
	for name[len(name)-1] <= '9' {
		name = name[:len(name)-1]
	}
	x.ends[name[len(name)-1]][name[len(name)-2]] = true
	for _, words := range wrappings {
		for _, word := range words {
			both := digits + word
			x.ends[both[len(both)-1]][both[len(both)-2]] = true
			both = name + word
			x.ends[both[len(both)-1]][both[len(both)-2]] = true
		}
	}
}

// listedName looks a normalised name up, which is not empty.
func listedName(normal []byte) (v verdict, listed bool) {
	x := nameRows()
	if row := &x.outline[len(normal)]; row.first[normal[0]] && row.last[normal[len(normal)-1]] {
		v, listed = x.rows[string(normal)]
	}
	return v, listed
}

// UnlikeAName reports whether the value under name need not be masked, as SecretName does,
// but from a quick look: false tells nothing. It may be a path that ends in the name.
func UnlikeAName(name string) bool { return endsUnlikeAName(name, true) }

// endsUnlikeAName reports whether a text ends with no name of a secret, which its last two
// letters tell most often; if it reports false, judge decides. Of a text that is a name
// as a whole, every letter counts, otherwise those of its last word.
func endsUnlikeAName(text string, whole bool) bool {
	last := byte(0)
	for end := len(text); end > 0; end-- {
		c := text[end-1]
		switch {
		case 'a' <= c && c <= 'z':
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case '0' <= c && c <= '9':
			if last == 0 {
				continue
			}
		case c == '%' || c == '\\' || c >= utf8.RuneSelf:
			return false
		case whole || inName[c]:
			continue
		default:
			return true
		}
		if last != 0 {
			return !nameRows().ends[last][c] && !escapesEnd(text[:end])
		}
		last = c
	}
	return last == 0 || !escapesEnd(text)
}

// escapesEnd reports whether a text may end within an escape, or within one of an escape.
func escapesEnd(text string) bool {
	end := len(text)
	for end > 0 && inEscape[text[end-1]] {
		end--
	}
	return end > 0 && (text[end-1] == '%' || text[end-1] == '\\')
}

var inEscape = byteSet("0123456789abcdefABCDEFuU")

// foldRune maps the letters outside ASCII that some server may take for an
// ASCII letter to that letter, and all others to 0.
func foldRune(r rune) byte {
	switch {
	case r == 'ſ':
		return 's'
	case r == '\u212a': // kelvin sign
		return 'k'
	case r == 'ı', r == 'İ':
		return 'i'
	case 'Ａ' <= r && r <= 'Ｚ':
		return byte(r-'Ａ') + 'a'
	case 'ａ' <= r && r <= 'ｚ':
		return byte(r-'ａ') + 'a'
	}
	return 0
}

// SecretName reports whether the value under name has to be masked. Case, characters
// that are neither letter nor digit, such as "_" and "-", and percent encoding are
// ignored.
func SecretName(name string) bool { return judgeDecoded(name) != readable }

// judgeDecoded classifies a name together with everything that it can be
// percent-decoded to. A name that is still encoded after maxLayers is taken
// for secret: nobody encodes a harmless name that often.
func judgeDecoded(name string) verdict {
	if endsUnlikeAName(name, true) {
		return readable
	}
	v := judge(name)
	for n := 0; v == readable; n++ {
		decoded, changed := peel(name)
		if !changed {
			return readable
		}
		if n == maxLayers {
			return secretAnywhere
		}
		name = decoded
		v = judge(name)
	}
	return v
}

// This file holds the one table of names whose values are secret, and the rule
// by which a name is looked up in it.

package svclog

import "unicode/utf8"

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

// names lists every name that is judged as a whole. A name is normalised before
// it is looked up: lower case, letters and digits only, so one row covers
// refresh_token, refreshToken and Refresh-Token. Rows with readable are the
// look-alikes: they contain or end in a secret word and stay legible.
//
// The rows come from the public API descriptions of the products; the last
// groups are those of veeam-auth and of the protocols of clients.
var names = map[string]verdict{
	// what logs in
	"password": secretAnywhere, "oldpassword": secretAnywhere, "newpassword": secretAnywhere,
	"currentpassword": secretAnywhere, "adminspassword": secretAnywhere, "userpassword": secretAnywhere,
	"rootpassword": secretAnywhere, "accountpassword": secretAnywhere, "serviceaccountpassword": secretAnywhere,
	"office365userpassword": secretAnywhere, "officeuserpassword": secretAnywhere,
	"onpremisesuserpassword": secretAnywhere, "defaultuserpassword": secretAnywhere,
	"certificatepassword": secretAnywhere, "webservercertificatepfxpassword": secretAnywhere,
	"applicationcertificatepassword": secretAnywhere, "keyorpassword": secretAnywhere,
	"passwords": secretAnywhere, "passphrase": secretAnywhere, "privatekeypassphrase": secretAnywhere,
	"passwordconfirm": secretAnywhere, "passwordconfirmation": secretAnywhere,
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
	"otpcode": secretAnywhere,

	// keys, seeds and what carries them
	"secret": secretField, "secrets": secretField, "secretkey": secretAnywhere, "newsecretkey": secretAnywhere,
	"accesskey": secretAnywhere, "accesskeys": secretField, "sharedkey": secretAnywhere, "clientsecret": secretAnywhere,
	"applicationsecret": secretAnywhere, "privatekey": secretAnywhere, "privatekeys": secretAnywhere,
	"privatekeybase64": secretAnywhere, "certificatecontent": secretAnywhere, "applicationcertificate": secretField,
	"pfx": secretField, "pkcs12": secretField, "publickey": secretField, "qrstring": secretAnywhere,
	"secreturl": secretAnywhere, "mfakey": secretAnywhere, "mfaqrcodeurl": secretAnywhere, "seed": secretField,
	"totpseed": secretAnywhere, "keytab": secretField, "connectionstring": secretField,

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

// suffixes are the words that make a name secret when it ends in one of them
// and is not in the table: a product's next version adds backupAdminPassword
// before anybody adds it here.
var suffixes = [256][]string{
	'd': {"password", "passwd", "pwd"},
	'e': {"passphrase", "passcode", "mfacode", "authcode", "authorizationcode", "verificationcode", "scratchcode", "recoverycode", "seedphrase", "keyphrase"},
	'g': {"connectionstring"},
	'h': {"passwordhash", "passwdhash"},
	'i': {"sasuri"},
	'l': {"sasurl", "keymaterial"},
	'n': {"token", "assertion"},
	'p': {"otp"},
	's': {
		"passwords", "passphrases", "scratchcodes", "recoverycodes", "privatekeys", "secretkeys", "accesskeys", "apikeys", "sshkeys",
		"recoverykeys", "licensekeys", "connectionstrings",
	},
	't': {"secret"},
	'y': {
		"secretkey", "accesskey", "privatekey", "sharedkey", "apikey", "encryptionkey", "decryptionkey", "accountkey",
		"signingkey", "masterkey", "cachekey", "sshkey", "recoverykey", "licensekey", "productkey", "activationkey", "unlockkey",
		"authkey", "hmackey", "aeskey", "rsakey", "sessionkey", "passkey", "storagekey", "functionkey", "presharedkey",
		"bitlockerkey", "subscriptionkey", "integrationkey", "servicekey", "symmetrickey", "privkey",
	},
}

// wrappings are the words behind the name of a secret that tell its form, as in
// tokenValue and passwordText.
var wrappings = [256][]string{
	'a': {"data"},
	'b': {"b"}, // of Base64, whose digits are off
	'd': {"encrypted"},
	'e': {"value", "base"},
	'g': {"string"},
	'm': {"pem"},
	's': {"values", "bytes"},
	't': {"plaintext", "cleartext", "text", "content"},
	'w': {"raw"},
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

// outline holds the first letters and the last letters of the names of each
// length. It spares most names the look into the table.
var outline = func() (rows [nameWidth + 1]struct{ first, last [256]bool }) {
	for name := range names {
		row := &rows[len(name)]
		row.first[name[0]], row.last[name[len(name)-1]] = true, true
	}
	return rows
}()

// listedName looks a normalised name up, which is not empty.
func listedName(normal []byte) (v verdict, listed bool) {
	if row := &outline[len(normal)]; row.first[normal[0]] && row.last[normal[len(normal)-1]] {
		v, listed = names[string(normal)]
	}
	return v, listed
}

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

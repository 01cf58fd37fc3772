#!/bin/sh
# Makes the kept messages anew. They are random in their keys, so the result differs each time; the tests do not mind.
set -eu
cd "$(dirname "$0")"
{
    echo '<?xml version="1.0" encoding="UTF-8"?>'
    echo '<plist version="1.0"><dict><key>Status</key><string>Idle</string>'
    i=0
    while [ "$i" -lt 40 ]; do
        echo "<key>Filler$i</key><string>so that the body spans several pieces of the stream</string>"
        i=$((i + 1))
    done
    echo '</dict></plist>'
} >body.plist
openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa-for-tests.key -out rsa.pem -subj /CN=fixture-rsa -days 36500
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout p256.key -out p256.pem -subj /CN=fixture-p256 -days 36500
cat rsa.pem p256.pem >certificates.pem
openssl cms -sign -binary -nodetach -stream -indef -in body.plist -signer p256.pem -inkey p256.key -md sha256 -outform DER -out signed-attached-p256.ber
openssl cms -sign -binary -nodetach -stream -indef -noattr -in body.plist -signer rsa.pem -inkey rsa-for-tests.key -md sha1 -outform DER -out signed-attached-rsa-sha1-noattr.ber
openssl cms -encrypt -binary -stream -indef -in body.plist -aes128 -outform DER -out enveloped-aes128.ber rsa.pem
rm rsa.pem p256.pem p256.key

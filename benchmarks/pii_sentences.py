"""Sentences with made-up personal data: names, addresses, numbers of people who do not exist."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from typing import Any

LOCALES = ("en_US", "en_GB", "en_CA", "en_AU", "en_IE", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL")
"""Of the package Faker, whose lists of names and places are for these."""
HELD_OUT = 4
"""Every fourth fragment of a subject stands in sentences that are measured on, and in no others."""
FRAGMENTS: dict[str, tuple[str, ...]] = {
    "name": (
        "My name is {given} {surname}.",
        "This is {given} {surname} from {company}.",
        "Hi, I am {given}, and I would like to change my booking.",
        "Please ask for {given} {surname} at the front desk.",
        "The contract was signed by {surname}, {given}.",
        "Dear Mr. {surname}, thank you for your letter.",
        "Could you tell {given} that the meeting is moved to {day}?",
        "Name: {given} {surname}",
        "{given} {surname} and {given} {surname} share the account.",
        "Kind regards, {given} {surname}",
        "The tenant, {given} {surname}, moved in on {day}.",
        "I spoke to {given} yesterday about the invoice.",
        "Patient {given} {surname} was seen by Dr. {surname} on {day}.",
        "First name {given}, last name {surname}.",
        "{given} said that {given} would pick up the keys.",
        "Mrs {surname} has not answered yet.",
    ),
    "email": (
        "You can reach me at {email}.",
        "My e-mail address is {email}.",
        "Send the receipt to {email} please.",
        "Email: {email}",
        "I never got the confirmation, I signed up as {email}.",
        "Please copy {email} on every message.",
        "Forward it to {given} ({email}) and to {email}.",
        "The account that belongs to {email} is locked.",
        "contact {email} for a refund",
        "Reply to {email} by {day}.",
        "Write to {given} {surname} <{email}>.",
        "Is {email} still the right address for {given}?",
    ),
    "phone": (
        "Call me on {phone}.",
        "My phone number is {phone}, after six is best.",
        "Phone: {phone}",
        "You can text {given} at {phone}.",
        "Our landline is {phone} and my mobile is {phone}.",
        "If nobody answers, try {phone}.",
        "Mobile {phone}, ask for {given}.",
        "I changed my number to {phone} last week.",
        "Please ring {phone} before {day}.",
        "tel. {phone}",
        "Her number used to be {phone}.",
        "The driver will call {phone} when he arrives.",
    ),
    "url": (
        "My website is {url}.",
        "You find my profile at {url}.",
        "The photos are on {url}, have a look.",
        "Website: {url}",
        "I uploaded the form to {url} on {day}.",
        "See {url} for my portfolio.",
        "My blog moved from {url} to {url}.",
        "The link {url} does not open for me.",
    ),
    "address": (
        "I live at {number} {street}, {city}, {state} {zip}.",
        "Ship it to {number} {street}, {unit}, {city}, {state} {zip}.",
        "Address: {number} {street}, {unit}, {city} {zip}",
        "Send the parcel to {given} {surname}, {number} {street}, {unit}, {city}, {state} {zip}.",
        "My new address is {number} {street} in {city}.",
        "We moved from {city} to {city}, {state} last year.",
        "The flat at {number} {street}, {unit} is empty.",
        "Billing address: {number} {street}, {unit}, {city}, {state} {zip}",
        "Deliver to {number} {street}, {city} and ring twice.",
        "My zip code is {zip}.",
        "Is there a branch in {city} or elsewhere in {state}?",
        "I grew up in {city}, {state}.",
        "The house number is {number}, the street is {street}.",
        "Home: {number} {street}, {city}, {state}, {zip}",
        "He rents {unit} at {number} {street}.",
        "Postal code {zip}, city {city}, state {state}.",
    ),
    "bank": (
        "My account number is {account}.",
        "Please transfer it to account {account}, routing number {routing}.",
        "Routing number: {routing}, account number: {account}",
        "The bank account {account} belongs to {given} {surname}.",
        "Use routing number {routing} for the direct deposit.",
        "IBAN: {iban}",
        "I closed account {account} on {day}.",
        "Refund to {iban}, in the name of {given} {surname}.",
        "My bank's routing number is {routing}.",
        "Checking account {account}, ABA {routing}.",
        "The salary goes to {iban}.",
        "Which routing number goes with account {account}, is it {routing}?",
    ),
    "tax": (
        "My tax ID is {tax}.",
        "Tax identification number: {tax}",
        "The company's EIN is {ein}.",
        "I file my taxes under {tax}.",
        "Her taxpayer number is {tax}.",
        "EIN {ein}, registered in {state}.",
        "The TIN on the form is {tax}, is that right?",
        "Please correct the tax number to {tax}.",
    ),
    "government": (
        "My national ID number is {government}.",
        "Government ID: {government}",
        "My social security number is {ssn}.",
        "The ID card number is {government}, issued in {city}.",
        "I was asked for my identity number, it is {government}.",
        "SSN {ssn}, date of birth {day}.",
        "National insurance number {insurance}.",
        "Her identity card has the number {government}.",
    ),
    "passport": (
        "My passport number is {passport}.",
        "Passport: {passport}",
        "The passport {passport} expires on {day}.",
        "Passport no. {passport}, issued to {given} {surname}.",
        "I lost my passport, number {passport}, in {city}.",
        "Please put passport {passport} on the ticket.",
        "Travel document: passport number {passport}",
        "The new passport is {passport}, the old one was {passport}.",
    ),
    "licence": (
        "My driver's license number is {licence}.",
        "Driver's license: {licence}",
        "The driving licence {licence} was issued in {state}.",
        "License number {licence}, valid until {day}.",
        "Driver license no. {licence} belongs to {given} {surname}.",
        "I renewed my driver's licence, it is {licence} now.",
        "DL {licence}, state {state}.",
        "The rental needs my driver's license, {licence}.",
    ),
    "nothing": (
        "The order was delivered on {day}.",
        "I would like to return the shoes, they are too small.",
        "Invoice {digits} is not paid yet.",
        "Can you help me with my subscription?",
        "The room has {digits} seats and two screens.",
        "Thanks for the quick answer.",
        "It costs {digits} dollars without tax.",
        "We met {company} on {day} and agreed on the price.",
        "The password has to be changed every month.",
        "Flight {digits} leaves at noon.",
        "Version {digits} fixes the bug with the printer.",
        "How long does the delivery take?",
    ),
}
JOINS = (" ", " ", " ", " - ", " / ")
MAIL_HOSTS = ("gmail.com", "yahoo.com", "outlook.com", "proton.me", "icloud.com", "hotmail.com", "gmx.de", "web.de", "aol.com")
Fill = dict[str, Callable[[], str]]


def sentences(count: int, seed: int, *, held_out: bool) -> list[str]:
    """Make texts of one to three sentences, each of them once.

    Args:
        count: How many.
        seed: Of every choice; Faker's lists are those of its version.
        held_out: Whether they are to be measured on, and made of other sentences than those that are learned from.
    """
    choose = random.Random(f"{seed} {held_out}")
    fills = list(_fills(choose, seed))
    kept = {
        subject: [text for place, text in enumerate(texts) if (place % HELD_OUT == HELD_OUT - 1) == held_out]
        for subject, texts in FRAGMENTS.items()
    }
    made: dict[str, None] = {}
    while len(made) < count:
        fill = choose.choice(fills)
        subjects = choose.sample(list(kept), choose.choice((1, 1, 2, 2, 3)))
        parts = [_filled(choose.choice(kept[subject]), fill) for subject in subjects]
        text = choose.choice(JOINS).join(parts)
        made[text.lower() if choose.random() < 0.1 else text] = None
    return list(made)


def _filled(fragment: str, fill: Fill) -> str:
    pieces = string.Formatter().parse(fragment)
    return "".join(text + (fill[name]() if name else "") for text, name, _, _ in pieces)


def _fills(choose: random.Random, seed: int) -> Iterator[Fill]:
    """What stands in the braces, for each country's names and places."""
    from faker import Faker

    for number, locale in enumerate(LOCALES):
        fake = Faker(locale)
        fake.seed_instance(seed + number)
        yield _fill(fake, choose)


def _fill(fake: Any, choose: random.Random) -> Fill:
    def shaped(*shapes: str) -> Callable[[], str]:
        """Letters for ?, digits for #, and % for digits that are not 0."""
        return lambda: fake.bothify(choose.choice(shapes), letters=string.ascii_uppercase).replace(
            "%", str(choose.randint(1, 9))
        )

    def state() -> str:
        names = [name for name in ("state", "county", "region", "province", "state_abbr") if hasattr(fake, name)]
        return str(getattr(fake, choose.choice(names))()) if names else str(fake.city())

    def email() -> str:
        given, surname = (_plain(name) for name in (fake.first_name(), fake.last_name()))
        local = choose.choice(("{0}.{1}", "{0}{1}", "{0}_{1}", "{1}.{0}", "{0}{2}", "{3}{1}", "{3}.{1}{2}"))
        host = choose.choice((*MAIL_HOSTS, fake.domain_name(), fake.domain_name()))
        return f"{local.format(given, surname, choose.randint(1, 99), given[:1])}@{host}"

    def url() -> str:
        host, handle = fake.domain_name(), _plain(fake.first_name() + fake.last_name())
        shapes = ("https://www.{0}/{1}", "https://{0}", "www.{0}", "http://{0}/u/{1}", "{0}/{1}", "https://{1}.{0}/about")
        return choose.choice(shapes).format(host, handle)

    return {
        "given": fake.first_name,
        "surname": fake.last_name,
        "company": fake.company,
        "email": email,
        "phone": fake.phone_number,
        "url": url,
        "number": shaped("%", "%#", "%##", "%###", "%#?"),
        "street": fake.street_name,
        "unit": shaped("Apt. %##", "Apt %?", "Suite %##", "Unit %#", "Floor %", "Flat %", "#%?", "Apartment %#", "Room %##"),
        "city": fake.city,
        "state": state,
        "zip": fake.postcode,
        "account": shaped("########", "##########", "############"),
        "routing": shaped("0########", "1########", "2########", "3########"),
        "iban": fake.iban,
        "tax": shaped("9##-7#-####", "##-#######", "DE#########", "###-##-####", "#########"),
        "ein": shaped("##-#######"),
        "government": shaped("?########", "##########", "???######", "####-####-####"),
        "ssn": shaped("###-##-####", "### ## ####"),
        "insurance": shaped("?? ## ## ## ?", "??######?"),
        "passport": shaped("?########", "#########", "??#######", "?#######"),
        "licence": shaped("?#######", "?###-####-####", "########", "??######", "?############", "###-###-###"),
        "digits": shaped("%", "%#", "%##", "%####"),
        "day": lambda: str(fake.date(choose.choice(("%d %B %Y", "%m/%d/%Y", "%Y-%m-%d", "%A")))),
    }


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter in string.ascii_lowercase) or "someone"

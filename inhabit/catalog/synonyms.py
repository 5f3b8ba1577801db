"""Words that people use for one thing, across the subjects that APIs are about.

General English, written for this project: no data set, no thesaurus. A group says that a query with one of
its words may mean an operation with another; the other word counts less than the word itself. Groups are kept
to near synonyms; a word may be in several. Order and size of a group do not matter.
"""

from __future__ import annotations

from inhabit.catalog.words import stem

__all__ = ["synonyms_of_stems"]

_GROUPS = """
user account member profile person people
person people human individual
customer client buyer shopper
employee worker staff colleague
team group squad
organization organisation company business firm enterprise corporation
author writer creator
owner holder
friend contact buddy
address location place
place location venue spot
city town municipality
country nation
area region zone territory
map directions route navigation
route path itinerary
distance length
trip travel journey tour
flight airline plane airplane
airport airfield
hotel accommodation lodging room
reservation booking
ticket pass
car vehicle automobile
train rail railway
price cost fare rate fee amount
cheap inexpensive affordable
buy purchase order checkout
shop store market
product item goods article merchandise
cart basket
order purchase
invoice bill
payment charge transaction
refund reimbursement chargeback
money funds cash
balance funds
bank account
transfer remit wire
currency money exchange
stock share equity ticker
tax vat duty
discount coupon promotion voucher deal
subscription plan membership
contract agreement
message text chat dm
email mail e-mail message
inbox mailbox
comment remark reply note
note memo annotation
post article entry
thread conversation discussion
notification alert reminder
channel room
call phone
meeting appointment event
event occasion happening
calendar schedule agenda
date day time
today now current currently
now current currently live
latest recent newest new last
recent recently latest lately
upcoming next future scheduled
past previous earlier history
history log record past
trending popular hot
popular top best famous
favorite favourite liked saved starred
like favorite favourite love
rating score stars grade
review rating feedback opinion
recommend recommendation suggest suggestion
similar related alike comparable like
rank ranking standing leaderboard
result outcome score
song track music
music song track audio
singer artist musician band
band group artist
album record
playlist mix
listen play hear
sing artist perform
lyrics words
film movie
movie film video
trailer teaser clip video
video clip recording movie
show series program programme
series show franchise saga
season series
episode installment
actor actress cast performer star
cast actor crew
crew staff team cast
director filmmaker
genre category style
category type kind class
picture image photo photograph
image picture photo
cover artwork poster image
poster image picture
screenshot picture image capture
avatar portrait photo
logo icon image
book novel publication
game videogame
player gamer athlete
match game fixture
league competition championship
tournament competition cup
coach trainer manager
news article headline
weather forecast climate
forecast prediction outlook
temperature heat
recipe dish meal
food meal dish
ingredient component
restaurant diner eatery
calorie energy nutrition
patient person
doctor physician practitioner
medicine drug medication
disease illness condition
symptom sign
exercise workout training
job position vacancy
job task run
task todo issue ticket
issue bug problem ticket defect
project workspace
milestone goal target
goal objective target
deadline due
blocker dependency block
progress status state
status state condition
error failure fault exception
fail failure failed error
crash outage failure
incident outage alert
log record event
metric statistic measurement
statistics stats analytics metrics
report summary statement
summary overview
count number total
average mean
total sum
percentage percent share
chart graph plot
file document attachment
document file doc
folder directory
copy duplicate clone
move transfer relocate
rename name
backup snapshot copy
restore recover rollback
upload attach
download export fetch
import load
share permission access
permission access right role
role permission
password credential secret
secret credential key token
key token credential
login signin authenticate authentication session
logout signout
security protection
protect protection secure guard
block ban deny
allow permit whitelist allowlist
encrypt encryption
certificate ssl tls
verify validate check confirm
confirm approve accept
approve accept grant
reject decline deny refuse
server machine host instance vm
instance server machine
container docker pod
database db
table sheet
row record entry
column field
field attribute property
value amount
setting configuration option preference
configuration config setting
domain hostname dns
site website page
url link address
link url
network net
firewall rule
traffic visit
cache store
repository repo project
branch ref
commit change revision
change edit modification
version release revision
release publish version deploy
deploy deployment rollout
build compile
test check
code source
workflow pipeline action automation
pipeline workflow build
webhook callback hook
label tag
tag label keyword
word term
meaning definition
translate translation
language locale
device machine phone gadget
phone mobile smartphone
sensor device
light lamp
volume loudness
speed velocity
size dimension
weight mass
width breadth
speaker device
start begin
stop halt pause
enable activate
disable deactivate
open unlock
close shut lock
increase raise boost
decrease reduce lower
join enter subscribe
leave exit quit
follow subscribe
unfollow unsubscribe
invite add
assign allocate
search find lookup
birthday birth born
age birth old
biography bio about
nickname alias
founded established founding
salary wage pay
student pupil learner
teacher instructor
course class lesson
school university college
exam test quiz
question query
answer response reply
shipment delivery package parcel shipping
delivery shipping shipment
warehouse inventory depot
inventory stock
supplier vendor seller
brand manufacturer maker
manufacturer maker producer
producer production maker
studio company production
network broadcaster channel
stream broadcast live
podcast show
quote saying quotation
joke humor
pet animal
plant flower
house home property
property home estate
rent lease
loan credit mortgage
insurance policy
claim request
petition request
vote ballot poll
survey poll questionnaire
election vote
law legislation bill
crime offense
nearby near close around
pronunciation audio
random surprise
"""


def synonyms_of_stems() -> dict[str, tuple[str, ...]]:
    """Stem → stems that may mean the same."""
    found: dict[str, dict[str, None]] = {}
    for line in _GROUPS.split("\n"):
        stems = list(dict.fromkeys(stem(word) for word in line.split()))
        for one in stems:
            found.setdefault(one, {}).update(dict.fromkeys(other for other in stems if other != one))
    return {one: tuple(others) for one, others in found.items()}
